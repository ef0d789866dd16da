// The component: camera in, faces and expressions out, drawn over the picture. A frame leaves the device only if its owner agrees.
//
// Python gives `data`: the run (assets.settings), all runs, where ONNX Runtime is and the sample portrait. Python gets `run` and `head` (another was
// chosen), `sitting` (the probabilities of a finished one), `lasting` if `data.marks` asks for it (the expression that lasts, and
// since when) and, in server mode alone, `frame`, whose answer comes as an event.

import { Engine } from "./engine.mjs";
import { Lasting, Tracker } from "./track.mjs";
import { FileError, openRun } from "./runtime.mjs";
import { Pace, Recording } from "./record.mjs";
import { CameraError, Grabber, listCameras, openCamera, openSample, Pictures } from "./camera.mjs";
import { Panel } from "./panel.mjs";
import { Teacher } from "./teach.mjs";

const LONGEST = 960; // pixels of the picture that is looked at; cameras are asked for 640
const SENT = 480; // and of those that are sent in server mode
const SLOW = 5; // pictures a second below which the server is offered
const TRIAL = 4; // seconds after which the speed is judged
const LATE = 20; // seconds after which the server is taken not to answer
const DRAWN = 100; // milliseconds between two drawings of bars and timeline
const READ = 4000; // milliseconds for which a sentence stays before the next may replace it
const HISTORY = 31; // seconds of the timeline that are kept

const ANSWER = "fercore-live-answer"; // assets.ANSWER

const INVITATION = "Your camera's picture is read here, in your browser. No frame of it leaves this device.";
const SAMPLED = "This is a sample picture (Eileen Collins, photographed by NASA). No camera is on.";
const QUESTION =
  "The app's server can do it instead: small pictures of your camera would be sent there, read in its memory and forgotten at " +
  "once. May they be sent?";

/** The address under which Streamlit serves this app: that of its own script, whatever page is shown. */
function appAddress() {
  const script = document.querySelector('script[type="module"][src*="static/js/"]');
  return script ? script.src.split("static/js/")[0] : new URL("./", location.href).href;
}

const absolute = (file) => ({ ...file, urls: file.urls.map((url) => new URL(url, appAddress()).href) });
const area = ({ box }) => box[2] * box[3];
const scaled = (faces, scale) => faces.map((face) => ({ ...face, box: face.box.map((value) => value / scale) }));

class Live {
  constructor(root) {
    this.root = root;
    this.place = "browser";
    this.source = "camera"; // or "sample"
    this.turn = 0; // counts starts and stops, so that what belongs to an old one falls silent
    this.grabber = new Grabber();
    this.lasting = new Lasting();
    this.panel = new Panel(root, {
      start: () => this.start("", "camera"),
      sample: () => this.start(SAMPLED, "sample"),
      pause: () => (this.state === "paused" ? this.resume() : this.pause("Paused.")),
      snapshot: () => this.snapshot(),
      finish: () => this.finish(),
      agree: () => this.move("server", "Pictures are sent to the server now, one at a time."),
      withdraw: () => this.move("browser", "No picture is sent any more."),
      decline: () => this.decline(),
      run: (name) => this.send("run", name),
      head: (name) => this.send("head", name),
      camera: () => this.start("", "camera"),
      follow: (id) => this.follow(id),
    });
    this.teacher = new Teacher(root, {
      ready: () => this.state === "running",
      begun: () => this.panel.part.stage.scrollIntoView({ block: "nearest", behavior: "smooth" }),
    });
    this.video = this.panel.part.video;
    this.watchTab = () => this.tabChanged();
    document.addEventListener("visibilitychange", this.watchTab);
    this.hear = ({ detail }) => this.answered?.(detail);
    addEventListener(ANSWER, this.hear);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(root);
    this.show("idle", INVITATION);
  }

  /** Take what Python gives, at the start and after each rerun. */
  receive({ data, setTriggerValue, setStateValue }) {
    this.tell = setTriggerValue;
    this.set = setStateValue;
    this.marks = data.marks;
    this.declined ||= Boolean(data.serverless); // a site without a server never offers one
    this.files = { code: absolute(data.runtime.code), wasm: absolute(data.runtime.wasm) };
    this.sample = data.sample && new URL(data.sample, appAddress()).href;
    const mark = JSON.stringify([data.run, data.runs, data.refusal]);
    if (mark !== this.mark) this.changeRun(data);
    else this.draw();
    this.mark = mark;
  }

  send(name, value, tell = this.tell) {
    try {
      tell(name, value);
    } catch {
      // Without a connection the picture is still read here; only Python does not hear of it.
    }
  }

  /** Tell Python how long the followed face's expression has lasted, where it asked for that and it is news. */
  tellLasting() {
    if (!this.marks) return;
    const { shown, since } = this.tracks?.find(({ id }) => id === this.followed)?.smoother ?? { shown: null };
    const label = shown === null ? null : this.run.labels[shown];
    const news = this.lasting.update(this.marks, label, this.clock - since);
    if (news) this.send("lasting", news, this.set);
  }

  /** Whether the sample picture is shown in the camera's place. */
  get sampled() {
    return this.source === "sample";
  }

  show(state, sentence = "", options = {}) {
    this.state = state;
    const { place, sampled } = this;
    this.panel.show(state, sentence, { place, sampled, ready: Boolean(this.run), sample: Boolean(this.sample), ...options });
    this.teacher.show(state);
  }

  changeRun({ run, runs, chosen, heads, refusal }) {
    this.panel.listRuns(runs, chosen, heads, run?.head);
    const same = JSON.stringify(run) === JSON.stringify(this.given);
    this.given = run;
    if (same && run) return;
    const busy = this.state === "running" || this.state === "paused" || this.state === "loading";
    this.closeSitting();
    this.engine = undefined;
    this.run = run && {
      ...run,
      detector: { ...run.detector, file: absolute(run.detector.file) },
      networks: run.networks.map((network) => ({ ...network, file: absolute(network.file) })),
    };
    if (!run) {
      this.stop();
      this.show("idle", `${chosen} cannot be served by a browser: ${refusal}. Choose another run above.`);
    } else if (busy) {
      this.start(`${run.name} answers now, with the labels of ${run.head}. A new sitting has begun.`);
    } else if (this.state === "idle") {
      this.show("idle", INVITATION);
    }
    if (!busy || !run) this.panel.drawBlank(run);
  }

  async start(greeting = "", source = this.source) {
    this.stop();
    const turn = ++this.turn;
    this.source = source;
    this.show("loading", this.sampled ? "Fetching the sample picture …" : "Waiting for the camera …");
    try {
      const { stream, mirrored } = await (this.sampled ? openSample(this.sample) : openCamera(this.panel.part.camera.value));
      if (turn !== this.turn) return stream.getTracks().forEach((track) => track.stop());
      await this.watch(stream, mirrored);
      if (turn === this.turn && this.place === "browser") await this.load(turn);
    } catch (error) {
      if (turn === this.turn) this.failed(error);
      return;
    }
    if (turn === this.turn) this.begin(greeting);
  }

  failed(error) {
    this.closeSitting();
    this.stop();
    if (error instanceof CameraError) return this.show("idle", error.message, { problem: true });
    this.engine = undefined;
    const why =
      error instanceof FileError
        ? `This browser could not load what it needs to read your picture. ${error.message}`
        : `This browser cannot run the network: ${error.message}`;
    this.show("idle", why, { problem: true });
    if (!this.declined) this.panel.ask(QUESTION);
  }

  /** Show a camera, and notice when it goes. */
  async watch(stream, mirrored) {
    this.stream = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => this.lost(stream));
    if (!this.sampled) {
      track.addEventListener("mute", () => this.say("The camera gives no picture at present: another program may use it."));
    }
    await this.panel.play(stream, mirrored);
    this.panel.listCameras(this.sampled ? [] : await listCameras(), track.getSettings?.().deviceId);
  }

  async load(turn) {
    if (this.engine) return;
    this.show("loading", "Loading the network; the next time it is here already …");
    this.panel.showProgress(0, "");
    const { run } = this;
    const pace = new Pace();
    const report = (share) => turn === this.turn && this.panel.showProgress(share, pace.left(share));
    const { detector, networks, features } = await openRun(run, this.files, report);
    if (turn !== this.turn) return;
    this.engine = new Engine(run, detector, networks);
    this.features = features;
  }

  /** Begin a sitting. */
  begin(greeting) {
    this.tracker = new Tracker(this.run.threshold);
    this.recording = new Recording(this.run, { sample: this.sampled });
    this.history = new Map();
    this.tracks = [];
    this.answers = [];
    this.clock = this.lastSeen = this.drawn = this.count = 0;
    this.judged = false;
    this.followed = undefined;
    this.ticked = performance.now();
    this.pictures = new Pictures(this.video);
    const { place, sampled } = this;
    this.teacher.open(this.run, { features: place === "browser" && this.features, place, sample: sampled });
    this.show("running");
    this.say(greeting);
    this.loop(this.turn);
    this.tabChanged();
  }

  async loop(turn) {
    while (turn === this.turn) {
      await this.pictures.next();
      if (turn !== this.turn) return;
      if (this.state === "paused") {
        await new Promise((resolve) => (this.resumed = resolve));
        continue;
      }
      try {
        const faces = await (this.place === "server" ? this.askServer() : this.look());
        if (turn === this.turn && faces && this.state === "running") this.take(faces); // not one that a pause overtook
      } catch (error) {
        if (turn === this.turn) this.failed(error);
        return;
      }
    }
  }

  /** Find and classify the faces of the current picture here. */
  async look() {
    const scale = this.grabber.grab(this.video, LONGEST);
    return scaled(await this.engine.predict(this.grabber.pixels()), scale);
  }

  /** Let the server do it: one small picture at a time, at the pace it answers. */
  async askServer() {
    const scale = this.grabber.grab(this.video, SENT);
    const jpeg = await this.grabber.jpeg();
    const number = (this.sent = (this.sent ?? 0) + 1);
    const answer = await new Promise((resolve) => {
      const late = setTimeout(() => resolve({ error: "The server does not answer; trying again." }), 1000 * LATE);
      this.answered = (given) => {
        if (given.number !== number) return;
        clearTimeout(late);
        resolve(given);
      };
      this.send("frame", { number, jpeg });
    });
    if (answer.error) this.say(answer.error);
    return answer.faces && scaled(answer.faces, scale);
  }

  /** Take in the faces of a picture. */
  take(faces) {
    const now = performance.now();
    if (this.state === "running") this.clock += (now - this.ticked) / 1000;
    this.ticked = now;
    const answer = (track, face) => (track.id === this.followed ? this.teacher.answer(face) : face.probabilities);
    this.tracks = this.tracker.update(faces, this.clock, answer);
    this.recording.add(this.tracks, this.clock);
    for (const { id, last, smoother } of this.tracks) {
      if (last !== this.clock) continue;
      const rows = this.history.get(id) ?? [];
      rows.push({ time: this.clock, average: smoother.average });
      this.history.set(id, rows.filter((row) => row.time > this.clock - HISTORY));
    }
    if (!this.tracks.some(({ id }) => id === this.followed)) {
      this.followed = [...this.tracks].sort((a, b) => area(b) - area(a))[0]?.id;
    }
    const followed = this.tracks.find(({ id, last }) => id === this.followed && last === this.clock);
    this.teacher.take(this.clock, followed?.face);
    this.recording.corrected ||= this.teacher.correcting;
    this.count += 1;
    this.answers = [...this.answers, now].filter((time) => time > now - 3000);
    this.panel.drawMarks(this.tracks, this.run, this.followed);
    if (now - this.drawn > DRAWN) {
      this.drawn = now;
      this.draw();
      this.comment(now);
      this.tellLasting();
      this.judge();
    }
  }

  draw() {
    if (this.state !== "running" && this.state !== "paused") return;
    const { tracks, run, followed } = this;
    this.panel.drawMarks(tracks, run, followed);
    this.panel.drawAnswer(tracks, run, followed, this.history.get(followed) ?? [], this.clock);
    this.panel.drawRate(this.rate, this.count);
  }

  /** Pictures a second over the last three seconds. */
  get rate() {
    const { answers } = this;
    return answers.length > 1 ? ((answers.length - 1) * 1000) / (answers.at(-1) - answers[0]) : 0;
  }

  /** Say what the visitor should know of the picture. */
  comment(now) {
    const count = this.tracks.length;
    if (count) this.lastSeen = this.clock;
    if (now - this.said < READ) return;
    let sentence = "";
    if (this.clock - this.lastSeen > 1.5) {
      sentence = "No face in view. Come closer, look into the camera, or turn on a light.";
    } else if (count > 1) {
      sentence = `${count} faces in view; the timeline follows face ${this.followed}. Click on another to follow that one.`;
    }
    this.panel.say(sentence);
  }

  say(sentence) {
    if (sentence) this.said = performance.now();
    this.panel.say(sentence);
  }

  /** Offer the server where this device turns out too slow. */
  judge() {
    if (this.judged || this.declined || this.sampled || this.place === "server" || this.clock < TRIAL) return;
    this.judged = true;
    if (this.rate >= SLOW) return;
    const rate = Math.max(1, Math.floor(this.rate));
    this.panel.ask(`This device reads only about ${rate} picture${rate > 1 ? "s" : ""} a second. ${QUESTION}`);
  }

  /** Read pictures elsewhere from now on: in this browser or on the server. */
  move(place, greeting) {
    this.closeSitting();
    this.place = place;
    this.start(greeting);
  }

  decline() {
    this.declined = true;
    this.panel.ask("");
  }

  pause(sentence) {
    this.show("paused", sentence);
    this.video.pause();
    this.draw();
  }

  async resume() {
    this.answers = [];
    this.show("running");
    await this.video.play().catch(() => {});
    this.ticked = performance.now();
    this.resumed?.();
  }

  tabChanged() {
    if (document.hidden && this.state === "running") {
      this.asleep = true;
      this.pause("Paused while this tab was hidden.");
    } else if (!document.hidden && this.asleep) {
      this.asleep = false;
      if (this.state === "paused") this.resume();
    }
  }

  follow(id) {
    if (id === undefined) return;
    this.followed = id;
    this.draw();
  }

  snapshot() {
    this.panel.saveSnapshot(this.tracks, this.run, this.followed);
    this.say("The snapshot is in your downloads; nobody else has it.");
  }

  lost(stream) {
    if (stream !== this.stream) return;
    this.closeSitting();
    this.stop();
    this.show("idle", "The camera is gone: it was unplugged or taken away. Connect it, then try again.", { problem: true });
  }

  finish() {
    const summed = this.closeSitting();
    this.stop();
    const end = this.sampled ? "That was the sample picture. Start the camera to see your own face." : "The camera is off.";
    this.show("finished", summed ? end : `${end} No face was in view, so there is nothing to sum up.`);
    this.panel.drawBlank(this.run);
    if (summed) this.panel.scrollToSummary();
  }

  /** End a sitting: show its summary, and tell Python the probabilities as means and shares, unless they are the sample
   * picture's. Returns whether there was anything to sum up. */
  closeSitting() {
    const { recording } = this;
    this.recording = undefined;
    if (!recording?.rows.length) return false;
    this.panel.showSummary(recording);
    if (recording.sample) return true;
    const { share, mean } = recording.summary();
    const round = (values) => values.map((value) => Number(value.toFixed(4)));
    this.send("sitting", {
      run: recording.run.name,
      labels: recording.run.labels,
      seconds: Number(recording.seconds.toFixed(1)),
      faces: recording.faces,
      share: round(share),
      mean: round(mean),
    });
    return true;
  }

  /** Let the camera go. */
  stop() {
    this.turn += 1;
    this.pictures?.close();
    this.resumed?.();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = undefined;
    this.teacher.cancel();
    this.tracks = [];
    this.tellLasting();
    this.video.srcObject = null;
    this.panel.ask("");
  }

  close() {
    this.marks = undefined; // nobody listens any more
    this.stop();
    document.removeEventListener("visibilitychange", this.watchTab);
    removeEventListener(ANSWER, this.hear);
    this.resized.disconnect();
  }
}

const mounted = new WeakMap(); // what runs in each place of the page

export default function mount(component) {
  const root = component.parentElement.querySelector(".live");
  let live = mounted.get(component.parentElement);
  if (live?.root !== root) {
    live?.close();
    live = new Live(root);
    mounted.set(component.parentElement, live);
  }
  live.receive(component);
  // Streamlit also cleans up after calls that a newer one overtook: only a place that is gone is closed.
  return () => setTimeout(() => root.isConnected || live.close(), 0);
}
