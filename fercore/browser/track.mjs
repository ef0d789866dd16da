// Faces over time: each keeps its number, its probabilities are smoothed, its label changes late rather than often.
//
// `Smoother` is stream.py's, `Tracker` tracking.py's with two differences: boxes go to faces by the least cost first, not by the
// least total, and a face is not given up between two pictures of a slow device. Times are in seconds, boxes [left, top, width,
// height].

export const SMOOTHING = { timeConstant: 0.5, hold: 0.5, margin: 0.1 };
const GROWTH = 2; // a face's size changes by less than this factor between two sightings
const REACH = 0.5; // how far from where it is expected a face may turn up, in face sizes
const SPEED = 2; // how much farther for each second since it was last seen
const STEADY = 0.3; // seconds over which a velocity is averaged
const COAST = 0.5; // seconds for which an unseen face is taken to move on
const BIRTH = 0.2; // a track counts as a face once it has been seen over this many seconds
const PATIENCE = 1; // seconds unseen after which a face has left, if it was looked for in more than MISSES pictures
const MISSES = 3;

const centre = ([left, top, width, height]) => [left + width / 2, top + height / 2];
const sizeOf = (box) => Math.sqrt(Math.max(box[2] * box[3], 1e-12));
const top = (values) => values.indexOf(Math.max(...values));

/** The state of one face: an average of its probabilities, and a label that only a lasting change moves. */
export class Smoother {
  constructor(threshold, { timeConstant, hold, margin } = SMOOTHING) {
    Object.assign(this, { threshold, timeConstant, hold, margin });
    this.shown = null; // position of the label that is shown
    this.since = 0; // time of its last change
    this.sum = null;
    this.weight = 0;
    this.time = 0;
    this.candidate = null;
    this.candidateSince = 0;
  }

  get average() {
    return this.sum.map((value) => value / this.weight);
  }

  get uncertain() {
    return Math.max(...this.average) < this.threshold;
  }

  update(probabilities, time) {
    const keep = this.weight && this.timeConstant ? Math.exp(-(time - this.time) / this.timeConstant) : 0;
    this.sum = probabilities.map((value, i) => (this.sum ? this.sum[i] * keep : 0) + value);
    this.weight = this.weight * keep + 1;
    this.time = time;
    const average = this.average;
    const best = top(average);
    const lead = average[best] - (this.shown === null ? 0 : average[this.shown]);
    if (best === this.shown || lead < this.margin || average[best] < this.threshold) {
      this.candidate = null;
      return;
    }
    if (best !== this.candidate) [this.candidate, this.candidateSince] = [best, time];
    if (time - this.candidateSince >= this.hold && top(probabilities) === best) {
      [this.shown, this.since, this.candidate] = [best, time, null];
    }
  }
}

/** Gives each face of each frame to a track {id, box, first, last, smoother, face, raw}: `face` as it was given, `raw` with the
 * probabilities that were taken for it. */
export class Tracker {
  constructor(threshold) {
    this.threshold = threshold;
    this.tracks = [];
    this.count = 0;
    this.time = -Infinity;
  }

  /** Take in the faces {box, probabilities, ...} of the next frame; return the tracks that are faces by now. `answer` may put
   * other probabilities in the place of a face's. */
  update(faces, time, answer = (_, face) => face.probabilities) {
    this.patience = Math.max(PATIENCE, MISSES * (time - this.time));
    const seen = this.tracks.filter((track) => track.last === this.time);
    const missed = this.tracks.filter((track) => track.last !== this.time && time - track.last <= this.patience);
    const owners = new Map();
    for (const known of [seen, missed]) this.assign(known, faces, owners, time);
    for (const face of faces) {
      if (!owners.has(face)) {
        const track = { id: ++this.count, box: face.box, first: time, last: time, velocity: [0, 0] };
        track.smoother = new Smoother(this.threshold);
        this.tracks.push(track);
        owners.set(face, track);
      }
      const track = owners.get(face);
      track.face = face;
      track.raw = { ...face, probabilities: answer(track, face) };
      track.smoother.update(track.raw.probabilities, time);
    }
    this.tracks = this.tracks.filter((track) => time - track.last <= (this.isFace(track) ? this.patience : BIRTH));
    this.time = time;
    return this.tracks.filter((track) => this.isFace(track));
  }

  isFace(track) {
    return track.last - track.first >= BIRTH;
  }

  assign(known, faces, owners, time) {
    const pairs = [];
    for (const track of known) {
      for (const face of faces) {
        const cost = owners.has(face) ? Infinity : this.cost(track, face.box, time);
        if (cost < Infinity) pairs.push({ track, face, cost });
      }
    }
    const given = new Set();
    for (const { track, face } of pairs.sort((a, b) => a.cost - b.cost)) {
      if (given.has(track) || owners.has(face)) continue;
      given.add(track);
      owners.set(face, track);
      this.move(track, face.box, time);
    }
  }

  cost(track, box, time) {
    const gap = time - track.last;
    const coast = Math.min(gap, COAST);
    const [x, y] = centre(box);
    const [wasX, wasY] = centre(track.box);
    const away = Math.hypot(x - wasX - track.velocity[0] * coast, y - wasY - track.velocity[1] * coast);
    const distance = away / Math.sqrt(sizeOf(track.box) * sizeOf(box));
    const growth = Math.abs(Math.log2(sizeOf(box) / sizeOf(track.box)));
    const near = distance <= REACH + SPEED * Math.min(gap, this.patience);
    return near && growth < Math.log2(GROWTH) ? distance + growth : Infinity;
  }

  move(track, box, time) {
    const gap = time - track.last;
    if (gap > 0) {
      const [now, was] = [centre(box), centre(track.box)];
      const share = 1 - Math.exp(-gap / STEADY);
      track.velocity = track.velocity.map((old, i) => old + ((now[i] - was[i]) / gap - old) * share);
    }
    track.box = box;
    track.last = time;
  }
}

/** What an application hears of a face: its label when that changes, and when it has lasted as long as one of `marks` says. */
export class Lasting {
  /** `label` is null where there is none, `seconds` how long it has lasted. Returns {label, seconds} if that is news. */
  update(marks, label, seconds) {
    const passed = marks.filter((mark) => mark <= seconds).length;
    const state = label === null ? undefined : JSON.stringify([marks, label, passed]);
    if (state === this.state) return undefined;
    this.state = state;
    return { label, seconds: label === null ? 0 : seconds };
  }
}
