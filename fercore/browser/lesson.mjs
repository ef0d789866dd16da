// A lesson: expressions are held one after the other, one stretch of each hold fits a correction, a later one judges it.
//
// Pictures of one moment are alike, so what judges is a whole stretch of time, apart from what was fitted. Times are seconds of
// the sitting. A taught face is {own, kind, labels, judged}: the correction (personal.mjs), how it came to be, what it is worth.

import { fit, judged, resting } from "./personal.mjs";

const READY = 2; // seconds to get ready
export const HOLD = 3; // seconds for which an expression is held
const LONGER = 8; // and at most, where few pictures a second are read
const FITTED = [0.1, 0.65]; // the part of a hold that is fitted; before it the face still moves
const HELD_BACK = [0.7, 1]; // the part that judges
const ENOUGH = 2; // pictures that each part needs
const EVERY = 0.1; // seconds between two pictures that are kept, so that a quick device does not fit for long
const MOST_KEPT = 240; // pictures of a lesson
const FORMAT = "fercore-own-face";
const VERSION = 1;
const LARGEST = 1e6; // of a number in a file

/** How long a lesson of so many expressions takes, in seconds. */
export const lasting = (count) => count * (READY + HOLD);

export class Lesson {
  /** `positions` are those of the expressions to show; a resting lesson has one, the neutral face. */
  constructor(positions, { kind = "expressions" } = {}) {
    this.positions = positions;
    this.kind = kind;
    this.at = 0;
    this.fitted = [];
    this.heldBack = [];
    this.every = Math.max(EVERY, (HOLD * positions.length) / MOST_KEPT);
    this.enter("ready");
  }

  get position() {
    return this.positions[this.at];
  }

  get done() {
    return this.at >= this.positions.length;
  }

  /** Seconds that the visitor still waits or holds, as they are counted down. */
  left(time) {
    return Math.max(0, (this.phase === "ready" ? READY : HOLD) - (time - (this.began ?? time)));
  }

  enter(phase, time) {
    this.phase = phase;
    this.began = time;
    this.rows = [];
  }

  /** Take in a moment: the face {features, probabilities} as the network sees it, or undefined where none is seen. */
  update(time, face) {
    if (this.done) return;
    this.began ??= time;
    this.seen = Boolean(face);
    const passed = time - this.began;
    if (this.phase === "ready") {
      if (passed >= READY && face) this.enter("hold", time);
      return;
    }
    if (face && time - (this.rows.at(-1)?.time ?? -Infinity) >= this.every - 0.01) {
      this.rows.push({ time, label: this.position, features: face.features ?? [], probabilities: face.probabilities });
    }
    if (passed < HOLD) return;
    const part = ([from, to]) =>
      this.rows.filter((row) => row.time >= this.began + from * passed && row.time <= this.began + to * passed);
    const [fitted, heldBack] = [part(FITTED), part(HELD_BACK)];
    if (Math.min(fitted.length, heldBack.length) >= ENOUGH) {
      this.fitted.push(...fitted);
      this.heldBack.push(...heldBack);
      this.again = false;
      this.at += 1;
      this.enter("ready", time);
    } else if (passed >= LONGER) {
      this.again = true; // too little of the face was seen
      this.enter("ready", time);
    }
  }

  skip(time) {
    this.again = false;
    this.at += 1;
    this.enter("ready", time);
  }

  /** The taught face, or undefined where everything was skipped. */
  taught(run) {
    if (!this.fitted.length) return undefined;
    const [features, shared, labels] = columns(this.fitted);
    const own = this.kind === "resting" ? resting(shared, labels[0]) : fit(features, shared, labels);
    const shown = [...new Set(labels)];
    const each = shown.map((label) => judgedOn(own, this.heldBack.filter((row) => row.label === label)));
    return {
      own,
      kind: this.kind,
      labels: shown.map((label) => run.labels[label]),
      judged: { ...judgedOn(own, this.heldBack), each },
    };
  }
}

const columns = (rows) => [
  rows.map((row) => row.features),
  rows.map((row) => row.probabilities),
  rows.map((row) => row.label),
];

const judgedOn = (own, rows) => ({ ...judged(own, ...columns(rows)), pictures: rows.length });

/** What a file says of the run that it belongs to; a run that is trained again has other networks. */
const belonging = (run) => ({
  run: run.name,
  head: run.head,
  labels: run.labels,
  networks: run.networks.map(({ file }) => file.integrity),
});

/** A taught face as JSON. */
export function toFile(taught, run) {
  const short = (value) => Number(value.toPrecision(7));
  const own = { weights: taught.own.weights.map((row) => row.map(short)), bias: taught.own.bias.map(short) };
  const { kind, labels, judged } = taught;
  return JSON.stringify({ format: FORMAT, version: VERSION, ...belonging(run), kind, taught: labels, judged, own }) + "\n";
}

/** Read such a file. Throws an Error whose message says what is wrong with it. */
export function fromFile(text, run) {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error("This file is no JSON.");
  }
  if (given?.format !== FORMAT) throw new Error("This file holds no taught face.");
  if (given.version !== VERSION) throw new Error(`This file is of version ${given.version}; this page reads version ${VERSION}.`);
  const here = belonging(run);
  if (JSON.stringify(given.labels) !== JSON.stringify(here.labels) || given.head !== here.head) {
    throw new Error(`This file is for ${given.run} with other labels; ${run.name} with the labels of ${run.head} is chosen.`);
  }
  if (JSON.stringify(given.networks) !== JSON.stringify(here.networks)) {
    throw new Error(`This file was made with ${given.run}, not with the network of ${run.name} that is loaded.`);
  }
  const { own, kind, taught, judged } = given;
  const width = here.labels.length;
  const isRow = (row) => Array.isArray(row) && row.length === width && row.every((value) => Math.abs(value) <= LARGEST);
  const isShare = (value) => typeof value === "number" && value >= 0 && value <= 1;
  const isJudged = (value) => isShare(value?.before) && isShare(value.after) && Number.isInteger(value.pictures);
  const whole =
    isRow(own?.bias) &&
    Array.isArray(own.weights) &&
    own.weights.every(isRow) &&
    ["expressions", "resting"].includes(kind) &&
    Array.isArray(taught) &&
    taught.every((label) => here.labels.includes(label)) &&
    isJudged(judged) &&
    judged.each?.length === taught.length &&
    judged.each.every(isJudged);
  if (!whole) throw new Error("This file is damaged: its numbers do not fit together.");
  return { own: { weights: own.weights, bias: own.bias }, kind, labels: taught, judged };
}
