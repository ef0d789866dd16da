// "Teach it your face": the lesson on the page, what it brought, and its file. All of it stays in this page's memory.

import { correct } from "./personal.mjs";
import { fromFile, HOLD, lasting, Lesson, toFile } from "./lesson.mjs";
import { percent, spoken } from "./record.mjs";

const RESTING_LABEL = "neutral";
const MOST_FILE = 16e6; // bytes of a file that is read
const WORDS =
  "Hold each expression for three seconds, and a small correction of the network's answers is fitted to your face. It is used for " +
  "the face that is followed, stays in this page's memory, and is forgotten when you leave. No picture leaves this device.";
const NO_FEATURES = "This run gives no features, so your expressions cannot be taught to it";
const IN_SERVER_MODE = "Your expressions can be taught only while the network runs in this browser";
const HONEST =
  "Judged on the last second of each hold, which the fit did not see. It is the same hold, so expect a little less later on.";

export class Teacher {
  /** `ready` tells whether a lesson may begin now; `begun` is called when one does. */
  constructor(root, { ready, begun }) {
    this.ready = ready;
    this.part = {};
    for (const element of root.querySelectorAll("[data-id]")) this.part[element.dataset.id] = element;
    const { part } = this;
    const start = (positions, kind) => {
      if (!this.ready()) return;
      this.lesson = new Lesson(positions, { kind });
      this.note("");
      this.show();
      begun();
    };
    part.teachAll.addEventListener("click", () => start(this.chosen, "expressions"));
    part.teachResting.addEventListener("click", () => start([this.resting], "resting"));
    part.skip.addEventListener("click", () => this.lesson?.skip(this.time));
    part.leave.addEventListener("click", () => this.cancel());
    part.forget.addEventListener("click", () => this.forget("Forgotten: everybody gets the shared answer again."));
    part.use.addEventListener("change", () => {
      this.used = part.use.checked;
      this.show();
    });
    part.file.addEventListener("change", () => this.read(part.file.files[0]));
    part.lessonLabels.addEventListener("change", () => this.showChoice());
  }

  /** A sitting begins with a run; what was taught to another one is forgotten. `features`: whether its networks give some;
   * `sample`: of a sample picture, which nobody teaches and nothing is corrected for. */
  open(run, { features, place, sample = false }) {
    const mark = JSON.stringify([run.name, run.head, run.labels, run.networks.map(({ file }) => file.integrity)]);
    const { part } = this;
    this.run = run;
    this.features = features;
    this.sample = sample;
    this.resting = run.labels.findIndex((label) => label.toLowerCase() === RESTING_LABEL);
    this.lesson = undefined;
    if (mark !== this.mark) {
      if (this.taught) this.forget("What was taught belonged to the run or the labels before, and is forgotten.");
      part.lessonLabels.replaceChildren(...run.labels.map((label, i) => choiceOf(label, i, run.colours[i])));
    }
    this.mark = mark;
    const instead = this.resting >= 0 ? "; your resting face can." : ".";
    const sentence = features ? WORDS : `${place === "browser" ? NO_FEATURES : IN_SERVER_MODE}${instead}`;
    part.lessonWords.textContent = sentence;
    part.lessonLabels.hidden = part.teachAll.hidden = !features;
    part.teachResting.hidden = this.resting < 0;
    part.teachResting.textContent = `Only my resting face (${spoken(lasting(1))})`;
    this.showChoice();
    this.show();
  }

  /** Positions of the expressions that are ticked. */
  get chosen() {
    return [...this.part.lessonLabels.querySelectorAll("input:checked")].map((box) => Number(box.value));
  }

  showChoice() {
    const count = this.chosen.length;
    this.part.teachAll.disabled = count < 2;
    this.part.teachAll.textContent =
      count < 2 ? "Choose at least two" : `Teach ${count} expressions (${spoken(lasting(count))})`;
  }

  /** The probabilities to take for a face: corrected, where something was taught that fits its features. */
  answer({ features, probabilities }) {
    const { own } = this.taught ?? {};
    const fits = own && this.used && !this.sample && [0, features?.length].includes(own.weights.length);
    return fits ? correct(own, features, probabilities) : probabilities;
  }

  /** Whether answers are corrected now. */
  get correcting() {
    return Boolean(this.taught && this.used && !this.sample && (this.features || !this.taught.own.weights.length));
  }

  /** A moment of the sitting: the followed face as the network sees it, or undefined. */
  take(time, face) {
    this.time = time;
    const { lesson } = this;
    if (!lesson) return;
    lesson.update(time, face);
    this.showCoach();
    if (!lesson.done) return;
    this.lesson = undefined;
    this.part.cue.textContent = "Fitting …";
    this.part.wanted.textContent = this.part.left.textContent = "";
    const { run } = this;
    setTimeout(() => {
      if (this.lesson || run !== this.run) return; // another lesson or run has begun
      const taught = lesson.taught(run);
      if (taught) this.keep(taught, taught.judged.after >= taught.judged.before);
      else this.note("Everything was skipped, so nothing was taught.");
      this.show();
      this.part.teach.open = true;
      this.part.teach.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }, 50);
  }

  keep(taught, used) {
    this.taught = taught;
    this.used = used;
    this.note("");
  }

  cancel() {
    this.lesson = undefined;
    this.show();
  }

  forget(sentence = "") {
    this.taught = undefined;
    this.note(sentence);
    this.show();
  }

  async read(file) {
    const { part, run } = this;
    try {
      if (file.size > MOST_FILE) throw new Error("This file is too large for a taught face.");
      const taught = fromFile(await file.text(), run);
      if (run !== this.run) return;
      if (taught.own.weights.length && !this.features) throw new Error(`${part.lessonWords.textContent}`);
      this.lesson = undefined;
      this.keep(taught, true);
    } catch (error) {
      this.note(error.message);
    }
    part.file.value = "";
    this.show();
  }

  note(sentence) {
    this.part.lessonNote.textContent = sentence;
  }

  /** Show what may be done and what was taught; `state` is the page's. */
  show(state = this.state) {
    const { part, taught } = this;
    this.state = state;
    const busy = state === "running" || state === "paused";
    part.teach.hidden = busy ? this.sample : !(state === "finished" && taught);
    part.lessonChoice.hidden = !busy || Boolean(this.lesson);
    part.coach.hidden = !this.lesson;
    part.taught.hidden = !taught || Boolean(this.lesson);
    part.own.hidden = !busy || !this.correcting;
    this.showCoach();
    if (!taught) return;
    part.use.checked = this.used;
    part.verdict.textContent = verdict(taught, this.used);
    part.honest.textContent = HONEST;
    part.each.replaceChildren(...taught.labels.map((label, i) => scoreRow(label, taught.judged.each[i])));
    URL.revokeObjectURL(part.saved.href);
    part.saved.href = URL.createObjectURL(new Blob([toFile(taught, this.run)], { type: "application/json" }));
    part.saved.download = "my-face.json";
  }

  showCoach() {
    const { part, lesson } = this;
    if (!lesson || lesson.done) return;
    const holding = lesson.phase === "hold";
    const ready = lesson.again ? "Too little of your face was seen. Once more:" : "Get ready:";
    const cue = lesson.seen === false ? "No face in view. Look into the camera:" : holding ? "Hold" : ready;
    const left = lesson.left(this.time);
    const texts = { cue, wanted: this.run.labels[lesson.position], left: String(Math.ceil(left)) };
    for (const [name, text] of Object.entries(texts)) {
      if (part[name].textContent !== text) part[name].textContent = text;
    }
    part.coach.dataset.phase = lesson.phase;
    part.coach.dataset.at = lesson.position;
    part.held.value = holding ? 1 - left / HOLD : 0;
    part.skip.hidden = lesson.positions.length < 2;
  }
}

function choiceOf(label, position, colour) {
  const element = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = position;
  box.checked = true;
  box.style.accentColor = colour;
  element.append(box, label);
  return element;
}

function scoreRow(label, { before, after }) {
  const row = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = label;
  const cells = [percent(before), percent(after)].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  });
  row.append(name, ...cells);
  return row;
}

/** What a taught face is worth, in a sentence or two. */
export function verdict({ kind, judged: { before, after, pictures } }, used) {
  const what = kind === "resting" ? "Your resting face was called neutral" : "The answer was yours";
  const numbers = `${what} in ${percent(before)} of ${pictures} held-back pictures before, and is in ${percent(after)} now.`;
  if (after > before) return numbers;
  const blunt = after < before ? "It got worse." : "It brought nothing.";
  return `${blunt} ${numbers}${used || after === before ? "" : " So it is not used, unless you tick the box."}`;
}
