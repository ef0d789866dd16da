// The page's parts: what they show in each state, and the drawing of answers and of the summary. It decides nothing.

import { finding, percent, spoken } from "./record.mjs";
import { drawBars, drawChart, drawMarks, drawTimeline, told } from "./draw.mjs";

const IN_BROWSER = "Everything stays on this device";
const ON_SERVER = "Small pictures go to this app's server";
const START = "Start the camera";
const STARTS = { finished: "Start again", problem: "Try again" };

export class Panel {
  /** `actions` are called by name: start, sample, pause, snapshot, finish, agree, decline, withdraw, run, head, camera, follow. */
  constructor(root, actions) {
    this.root = root;
    this.part = {};
    for (const element of root.querySelectorAll("[data-id]")) this.part[element.dataset.id] = element;
    const { part } = this;
    for (const name of ["start", "sample", "pause", "snapshot", "finish", "agree", "decline", "withdraw"]) {
      part[name].addEventListener("click", () => actions[name]());
    }
    for (const name of ["run", "head", "camera"]) {
      part[name].addEventListener("change", () => actions[name](part[name].value));
    }
    part.marks.addEventListener("click", (event) => actions.follow(this.faceAt(event)));
    this.follow = actions.follow;
    this.tracks = [];
  }

  /** Show a state and a sentence; while there is no picture, the sentence stands in its place. `sample` says whether there is a
   * sample picture, `sampled` whether it is shown in the camera's place. */
  show(state, sentence, { place, problem = false, ready = true, sample = false, sampled = false }) {
    const { part, root } = this;
    const busy = state === "running" || state === "paused";
    root.dataset.state = state;
    root.dataset.place = place;
    root.toggleAttribute("data-problem", problem);
    part.place.textContent = place === "browser" ? IN_BROWSER : ON_SERVER;
    part.withdraw.hidden = place === "browser";
    part.curtain.hidden = busy;
    part.invitation.textContent = busy ? "" : sentence;
    part.progress.hidden = state !== "loading";
    part.eta.textContent = "";
    part.start.hidden = state === "loading";
    part.sample.hidden = state === "loading" || !sample;
    part.start.disabled = part.sample.disabled = !ready;
    part.start.textContent = sampled ? START : (STARTS[problem ? "problem" : state] ?? START);
    part.badge.hidden = !sampled;
    part.video.ariaLabel = sampled ? "The sample picture" : "Your camera";
    part.rate.hidden = state !== "running";
    part.line.hidden = !busy;
    part.summary.open = state === "idle" || state === "finished";
    part.pause.textContent = state === "paused" ? "Go on" : "Pause";
    for (const name of ["pause", "snapshot", "finish"]) part[name].disabled = !busy;
    if (!busy) {
      this.tracks = [];
      part.answer.textContent = "–";
      part.faces.replaceChildren();
    }
    this.say(busy ? sentence : "");
  }

  say(sentence) {
    if (this.part.say.textContent !== sentence) this.part.say.textContent = sentence;
  }

  /** Ask a question below the picture, or take it back. */
  ask(question) {
    this.part.ask.hidden = !question;
    this.part.question.textContent = question;
  }

  /** Fill the choices; runs that a browser cannot serve are greyed out. */
  listRuns(runs, chosen, heads, head) {
    const options = runs.map(({ name, refusal }) => {
      const option = new Option(refusal ? `${name} (not in a browser)` : name, name, false, name === chosen);
      option.disabled = Boolean(refusal);
      return option;
    });
    this.part.run.replaceChildren(...options);
    this.part.head.replaceChildren(...heads.map((name) => new Option(name, name, false, name === head)));
    this.part.heads.hidden = heads.length < 2;
  }

  listCameras(cameras, chosen) {
    this.part.camera.replaceChildren(...cameras.map(({ id, name }) => new Option(name, id, false, id === chosen)));
    this.part.cameras.hidden = cameras.length < 2;
  }

  /** Show a camera's stream; resolves when its size is known. */
  async play(stream, mirrored) {
    const { video, picture } = this.part;
    this.mirrored = mirrored;
    video.srcObject = stream;
    await video.play().catch(() => {});
    if (!video.videoWidth) await new Promise((done) => video.addEventListener("loadedmetadata", done, { once: true }));
    picture.classList.toggle("mirrored", mirrored);
    picture.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
  }

  /** The canvas's size and scale against the video's own pixels. */
  view() {
    const { video, picture } = this.part;
    const { clientWidth: width, clientHeight: height } = picture;
    return { width, height, scale: width / (video.videoWidth || 640), mirrored: this.mirrored };
  }

  faceAt({ offsetX, offsetY }) {
    const { scale, width } = this.view();
    const x = (this.mirrored ? width - offsetX : offsetX) / scale;
    const y = offsetY / scale;
    const inside = ({ box: [left, top, wide, high] }) => x >= left && x <= left + wide && y >= top && y <= top + high;
    return this.tracks.find(inside)?.id;
  }

  drawMarks(tracks, run, followed) {
    this.tracks = tracks;
    const view = this.view();
    const context = fitted(this.part.marks, view.width, view.height);
    context.clearRect(0, 0, view.width, view.height);
    drawMarks(context, tracks, run, followed, view, this.font);
  }

  /** Draw the followed face's answer beside the picture and below it; `rows` are its last half minute. */
  drawAnswer(tracks, run, followed, rows, now) {
    const { part } = this;
    const track = tracks.find(({ id }) => id === followed);
    part.answer.textContent = track ? told(track, run).text : "–";
    drawBars(part.bars, run, track?.smoother.average);
    this.drawFaces(tracks, followed);
    part.caption.textContent = `The last half minute${tracks.length > 1 ? ` of face ${followed}` : ""}`;
    part.timeline.ariaLabel = track ? `Smoothed probabilities; at present ${part.answer.textContent}` : "No face in view";
    const size = { width: part.timeline.clientWidth, height: part.timeline.clientHeight };
    const style = getComputedStyle(this.root);
    const look = { text: style.color, faint: getComputedStyle(part.stage).backgroundColor, font: style.fontFamily };
    drawTimeline(fitted(part.timeline, size.width, size.height), rows, run, now, size, look);
  }

  drawBlank(run) {
    drawBars(this.part.bars, run ?? { labels: [], colours: [] }, undefined);
  }

  drawRate(rate, count) {
    this.root.dataset.rate = rate.toFixed(2);
    this.root.dataset.count = count;
    this.part.rate.textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} pictures a second`;
  }

  drawFaces(tracks, followed) {
    const { faces } = this.part;
    const ids = tracks.length > 1 ? tracks.map(({ id }) => id) : [];
    if (faces.childElementCount !== ids.length || faces.dataset.ids !== ids.join()) {
      faces.dataset.ids = ids.join();
      faces.replaceChildren(...ids.map((id) => this.faceButton(id)));
    }
    [...faces.children].forEach((button, at) => {
      const pressed = String(ids[at] === followed);
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed; // the button stays, and the keyboard's place with it
    });
  }

  faceButton(id) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Face ${id}`;
    button.addEventListener("click", () => this.follow(id));
    return button;
  }

  /** Save the picture as it is seen, with its marks, to the visitor's own downloads. */
  saveSnapshot(tracks, run, followed) {
    const { video } = this.part;
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    const context = canvas.getContext("2d");
    context.save();
    if (this.mirrored) {
      context.translate(canvas.width, 0);
      context.scale(-1, 1);
    }
    context.drawImage(video, 0, 0);
    context.restore();
    drawMarks(context, tracks, run, followed, { width: canvas.width, scale: 1, mirrored: this.mirrored }, this.font);
    canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `expression-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    }, "image/png");
  }

  /** Show how far a load is, and how long it still takes. */
  showProgress(share, left) {
    this.part.progress.value = share;
    if (this.part.eta.textContent !== left) this.part.eta.textContent = left;
  }

  /** Show what a sitting with rows amounts to, with its downloads; it stays until the next one has ended. */
  showSummary(recording) {
    const { part } = this;
    const { share } = recording.summary();
    const shares = recording.run.labels
      .map((label, i) => [label, share[i]])
      .filter(([, value]) => value >= 0.005)
      .sort((a, b) => b[1] - a[1])
      .map(([label, value]) => `${label} ${percent(value)}`);
    const corrected = recording.corrected ? " Answers were corrected for the face that was taught." : "";
    const faces = recording.faces === 1 ? "1 face" : `${recording.faces} faces`;
    const length = `${spoken(recording.seconds)}, ${faces}`;
    part.details.textContent = `${length}. Share of the time in view: ${shares.join(", ") || "none lasted"}.${corrected}`;
    part.finding.textContent = `Last sitting${recording.sample ? ", of the sample picture" : ""}: ${finding(recording)}`;
    part.summary.hidden = false;
    part.chart.src = part.png.href = drawChart(recording, finding(recording), this.font).toDataURL("image/png");
    part.chart.alt = `${finding(recording)}. A chart of the smoothed probabilities over the sitting.`;
    part.png.download = "expressions.png";
    URL.revokeObjectURL(part.csv.href);
    part.csv.href = URL.createObjectURL(new Blob([recording.csv()], { type: "text/csv" }));
    part.csv.download = "expressions.csv";
  }

  scrollToSummary() {
    const { chart, summary } = this.part;
    chart.decode().then(() => summary.scrollIntoView({ block: "nearest", behavior: "smooth" }), () => {});
  }

  get font() {
    return getComputedStyle(this.root).fontFamily;
  }
}

/** A canvas's context for drawing in CSS pixels, its size that of the screen's. */
function fitted(canvas, width, height) {
  const dense = globalThis.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
  }
  const context = canvas.getContext("2d");
  context.setTransform(dense, 0, 0, dense, 0, 0);
  return context;
}
