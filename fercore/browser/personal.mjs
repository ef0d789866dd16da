// A face's own expressions: a small correction of the shared answer, fitted to a few seconds of one person (personal.py).
//
// The answer is softmax(log p + x W + b): p the shared probabilities, x the network's features. W and b are pulled to zero, so
// with no data the shared answer is unchanged. Matrices are arrays of rows.

export const STRENGTH = 0.02; // of the pull towards the shared answer
export const RESTING = 0.3; // the same where only a resting face is known
const STEPS = 500;
const LEAST = 1e-9; // probability below which the logarithm is taken of this

/** Logits of probabilities, whatever head or ensemble they are from. */
export const logits = (probabilities) => Array.from(probabilities, (value) => Math.log(Math.max(value, LEAST)));

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** The correction {weights (D, K), bias (K)} for rows of features, shared probabilities and positions of the true labels.
 * Only `classes` move: those that were shown unless others are named. Without features (D = 0) there is only a bias. */
export function fit(features, shared, labels, { classes = [...new Set(labels)], strength = STRENGTH, steps = STEPS } = {}) {
  const size = features[0]?.length ?? 0;
  const count = labels.length;
  const width = shared[0]?.length ?? 0;
  const weights = Array.from({ length: size }, () => new Array(width).fill(0));
  const bias = new Array(width).fill(0);
  if (!count) return { weights, bias };
  classes = [...classes].sort((a, b) => a - b);
  const mean = Array.from({ length: size }, (_, d) => features.reduce((sum, row) => sum + row[d], 0) / count);
  const scale = mean.map((middle, d) => {
    const spread = Math.sqrt(features.reduce((sum, row) => sum + (row[d] - middle) ** 2, 0) / count);
    return spread > 1e-6 ? 1 / (spread * Math.sqrt(size)) : 0;
  });
  const rows = features.map((row) => Float64Array.from(mean, (middle, d) => (row[d] - middle) * scale[d]));
  const gram = labels.map((_, i) => labels.map((__, j) => 1 + (size ? dot(rows[i], rows[j]) : 0)));
  const base = shared.map((row) => {
    const values = logits(row);
    return classes.map((at) => values[at]);
  });
  const alpha = dual(gram, base, labels.map((label) => classes.indexOf(label)), strength, steps);
  classes.forEach((at, k) => {
    for (let i = 0; i < count; i++) {
      bias[at] += alpha[i][k];
      for (let d = 0; d < size; d++) weights[d][at] += rows[i][d] * scale[d] * alpha[i][k];
    }
    for (let d = 0; d < size; d++) bias[at] -= mean[d] * weights[d][at];
  });
  return { weights, bias };
}

/** Nesterov's gradient descent on the weights, written as sums over the rows: W = rows' alpha. Inside, matrices are columns of
 * numbers, because a page should not stand still for long. */
function dual(gram, base, targets, strength, steps) {
  const count = targets.length;
  const width = base[0].length;
  const rows = gram.map((row) => Float64Array.from(row));
  const largest = Math.max(...rows.map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0)));
  const reach = 0.5 * (largest / count) + strength;
  const ratio = Math.sqrt(strength / reach);
  const momentum = (1 - ratio) / (1 + ratio);
  const columns = () => Array.from({ length: width }, () => new Float64Array(count));
  let [alpha, ahead, next] = [columns(), columns(), columns()];
  const scores = new Array(width);
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < width; k++) scores[k] = base[i][k] + dot(rows[i], ahead[k]);
      spread(scores).forEach((value, k) => {
        const slope = (value - (k === targets[i] ? 1 : 0)) / count + strength * ahead[k][i];
        next[k][i] = ahead[k][i] - slope / reach;
      });
    }
    for (let k = 0; k < width; k++) {
      for (let i = 0; i < count; i++) ahead[k][i] = next[k][i] + momentum * (next[k][i] - alpha[k][i]);
    }
    [alpha, next] = [next, alpha];
  }
  return targets.map((_, i) => alpha.map((column) => column[i]));
}

function spread(scores) {
  const highest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** The bias-only correction from a resting face: its shared answers, moved towards the position of `neutral`. */
export function resting(shared, neutral) {
  const classes = (shared[0] ?? []).map((_, k) => k);
  return fit(shared.map(() => []), shared, shared.map(() => neutral), { classes, strength: RESTING });
}

/** Corrected probabilities of one face. */
export function correct({ weights, bias }, features, probabilities) {
  const scores = logits(probabilities).map((value, k) => value + bias[k]);
  weights.forEach((row, d) => row.forEach((value, k) => (scores[k] += value * features[d])));
  return spread(scores);
}

/** The share of rows whose likeliest label is the true one: {before, after}. */
export function judged(correction, features, shared, labels) {
  const best = (values) => values.indexOf(Math.max(...values));
  const share = (answer) => labels.filter((label, i) => best(answer(i)) === label).length / Math.max(1, labels.length);
  return { before: share((i) => shared[i]), after: share((i) => correct(correction, features[i], shared[i])) };
}
