// What a sitting leaves behind: a row for each face five times a second, as a table (CSV), a chart and a few numbers.
//
// The table has the columns of `python -m fercore`'s timelines (timeline.py), so that both can be read by the same tools.

const STEP = 0.2; // seconds between two rows of a face
const PACE = 5; // seconds over which the pace of a load is measured
const MOST = 100_000; // rows; five hours of one face

export class Recording {
  /** `sample`: of a sample picture, so nobody's own. */
  constructor(run, { sample = false } = {}) {
    this.run = run;
    this.sample = sample;
    this.rows = [];
    this.seconds = 0;
    this.last = new Map();
  }

  /** Take in the faces of a moment, in seconds of the sitting. */
  add(tracks, time) {
    this.seconds = time;
    for (const { id, raw, smoother, last } of tracks) {
      const due = time - (this.last.get(id) ?? -Infinity) >= STEP - 0.01;
      if (last !== time || !due || this.rows.length >= MOST) continue;
      this.last.set(id, time);
      const { shown, average, uncertain } = smoother;
      this.rows.push({ time, id, box: raw.box, score: raw.score, shown, uncertain, raw: raw.probabilities, average });
    }
  }

  /** How many faces there were. */
  get faces() {
    return this.last.size;
  }

  /** For each label the share of rows that show it, and its mean probability. */
  summary() {
    const count = Math.max(1, this.rows.length);
    return {
      share: this.run.labels.map((_, i) => this.rows.filter((row) => row.shown === i).length / count),
      mean: this.run.labels.map((_, i) => this.rows.reduce((sum, row) => sum + row.average[i], 0) / count),
    };
  }

  /** The rows of the face that was there longest. */
  longest() {
    const byFace = new Map();
    for (const row of this.rows) {
      if (!byFace.has(row.id)) byFace.set(row.id, []);
      byFace.get(row.id).push(row);
    }
    return [...byFace.values()].sort((a, b) => b.length - a.length)[0] ?? [];
  }

  csv() {
    const { labels } = this.run;
    const names = ["time", "face", "left", "top", "width", "height", "score", "label", "confidence", "uncertain"];
    const head = [...names, ...labels.map((label) => `p_${label}`), ...labels.map((label) => `smooth_${label}`)];
    const lines = this.rows.map((row) => {
      const label = row.shown === null ? "" : labels[row.shown];
      const confidence = row.shown === null ? 0 : row.average[row.shown];
      return [
        row.time.toFixed(2),
        row.id,
        ...row.box.map((value) => value.toFixed(1)),
        row.score.toFixed(4),
        label,
        confidence.toFixed(4),
        row.uncertain ? "True" : "False",
        ...[...row.raw, ...row.average].map((value) => value.toFixed(4)),
      ];
    });
    return [head, ...lines].map((cells) => cells.map(quote).join(",") + "\n").join("");
  }
}

function quote(cell) {
  const text = String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A time as people say it: 45 s, 2 min 5 s. */
export function spoken(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Tells how long a load still takes, from the pace of its last seconds. */
export class Pace {
  constructor(clock = () => performance.now() / 1000) {
    this.clock = clock;
    this.points = [];
  }

  /** Take in the share that is done; return what is left in words, nothing while that cannot be told. */
  left(share) {
    const now = this.clock();
    this.points = [...this.points, { now, share }].filter((point) => point.now >= now - PACE);
    const [first] = this.points;
    if (now - first.now < 1 || share <= first.share || share >= 1) return "";
    return `about ${spoken(Math.ceil(((now - first.now) * (1 - share)) / (share - first.share)))} left`;
  }
}

export const percent = (share) => `${Math.round(100 * share)}%`;

/** What a sitting with rows amounts to, in a few words. */
export function finding(recording) {
  const { share } = recording.summary();
  const best = share.indexOf(Math.max(...share));
  if (share[best] === 0) return `No expression lasted in ${spoken(recording.seconds)}`;
  return `Mostly ${recording.run.labels[best]}: ${percent(share[best])} of the time in view`;
}
