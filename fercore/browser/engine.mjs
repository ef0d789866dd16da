// From a picture to faces with calibrated expressions, in the browser: the same road as in Python, line by line.
//
// What mirrors what: `halved`, `cutLook`, `tiles`, `suppress` and `Detector` are faces.py; `faceSquare`, `cutFace` and `normalise` are
// preprocess.py; `softmax` is calibration.py; `Engine` is inference.py. Every constant comes from the run's JSON
// (assets.settings in Python). Change a mirror only together with what it mirrors: a test compares them.
//
// A picture is what getImageData gives: {data, width, height}, RGBA. Boxes are [left, top, width, height] in its pixels.

/** Round to the nearest whole number, halves to the even one: Python's round and OpenCV's. */
function rint(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Which inputs each of `to` outputs takes and with which weights: averages over areas (OpenCV's INTER_AREA). */
function areaTaps(from, to) {
  const scale = from / to;
  const taps = { first: new Int32Array(to), weights: [] };
  for (let at = 0; at < to; at++) {
    const start = at * scale;
    const end = start + scale;
    const width = Math.min(scale, from - start);
    const last = Math.min(Math.floor(end), from - 1);
    const first = Math.min(Math.ceil(start), last);
    const weights = [];
    if (first - start > 1e-3) weights.push((first - start) / width);
    taps.first[at] = first - weights.length;
    for (let i = first; i < last; i++) weights.push(1 / width);
    if (end - last > 1e-3) weights.push(Math.min(end - last, 1, width) / width);
    taps.weights.push(Float64Array.from(weights));
  }
  return taps;
}

/** The same for linear interpolation between pixel centres (OpenCV's INTER_LINEAR). */
function linearTaps(from, to) {
  const scale = from / to;
  const taps = { first: new Int32Array(to), weights: [] };
  for (let at = 0; at < to; at++) {
    const middle = clamp((at + 0.5) * scale - 0.5, 0, from - 1);
    taps.first[at] = Math.floor(middle);
    const share = middle - taps.first[at];
    taps.weights.push(Float64Array.from(share ? [1 - share, share] : [1]));
  }
  return taps;
}

/** Halve a picture's sides so often, each time to the averages of 2 x 2 pixels; an odd last row or column is left out. */
export function halved(image, times) {
  if (!times) return image;
  const [width, height] = [image.width, image.height].map((length) => Math.max(1, length >> 1));
  const data = new Uint8ClampedArray(4 * width * height);
  const right = image.width > 1 ? 4 : 0;
  const down = image.height > 1 ? 4 * image.width : 0;
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const at = 2 * (row * down + column * right);
      for (let i = at; i < at + 4; i++, to++) {
        data[to] = (image.data[i] + image.data[i + right] + image.data[i + down] + image.data[i + down + right] + 2) >> 2;
      }
    }
  }
  return halved({ data, width, height }, times - 1);
}

/** Return a part of a picture: columns from x0 to x1 and rows from y0 to y1, ends excluded. */
function cropped(image, x0, y0, x1, y1) {
  if (!x0 && !y0 && x1 === image.width && y1 === image.height) return image;
  const [width, height] = [x1 - x0, y1 - y0];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((y0 + row) * image.width + x0);
    data.set(image.data.subarray(from, from + 4 * width), 4 * row * width);
  }
  return { data, width, height };
}

/** Scale a square of a picture to RGB bytes (size, size, 3); what reaches outside the picture is black (faces.cut). */
export function cutLook(image, left, top, side, size) {
  const canvas = new Uint8Array(size * size * 3);
  const scale = size / side;
  const x0 = Math.max(0, Math.floor(left));
  const x1 = Math.min(image.width, Math.ceil(left + side));
  const y0 = Math.max(0, Math.floor(top));
  const y1 = Math.min(image.height, Math.ceil(top + side));
  if (x0 >= x1 || y0 >= y1) return canvas;
  const width = Math.max(1, rint((x1 - x0) * scale));
  const height = Math.max(1, rint((y1 - y0) * scale));
  const part = halved(cropped(image, x0, y0, x1, y1), Math.max(0, Math.floor(Math.log2(1 / scale))));
  const taps = scale < 1 ? areaTaps : linearTaps;
  const columns = taps(part.width, width);
  const rows = taps(part.height, height);
  const x = clamp(rint((x0 - left) * scale), 0, size - 1);
  const y = clamp(rint((y0 - top) * scale), 0, size - 1);
  const shown = Math.min(width, size - x);
  const line = new Float64Array(part.width * 3); // one output row, not yet scaled along x
  for (let row = 0; row < Math.min(height, size - y); row++) {
    line.fill(0);
    rows.weights[row].forEach((weight, i) => {
      let from = 4 * (rows.first[row] + i) * part.width;
      for (let to = 0; to < line.length; to += 3, from += 4) {
        line[to] += weight * part.data[from];
        line[to + 1] += weight * part.data[from + 1];
        line[to + 2] += weight * part.data[from + 2];
      }
    });
    let to = ((y + row) * size + x) * 3;
    for (let column = 0; column < shown; column++, to += 3) {
      const weights = columns.weights[column];
      let at = 3 * columns.first[column];
      let [red, green, blue] = [0, 0, 0];
      for (let i = 0; i < weights.length; i++, at += 3) {
        red += weights[i] * line[at];
        green += weights[i] * line[at + 1];
        blue += weights[i] * line[at + 2];
      }
      canvas[to] = rint(red);
      canvas[to + 1] = rint(green);
      canvas[to + 2] = rint(blue);
    }
  }
  return canvas;
}

/** Intersection over union of two boxes. */
export function overlap(a, b) {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  return shared / Math.max(a[2] * a[3] + b[2] * b[3] - shared, 1e-12);
}

/** Whether the centre of one box lies inside the other. */
function nested(a, b) {
  return [0, 1].every((axis) => {
    const apart = Math.abs(a[axis] + a[axis + 2] / 2 - b[axis] - b[axis + 2] / 2);
    return apart < Math.max(a[axis + 2], b[axis + 2]) / 2;
  });
}

/**
 * Leave one box a face, from the highest score down: its box and key points become the average, weighted by score, of all that
 * share more than `most` with it; what shares less but lies on the same face is dropped.
 */
export function suppress(faces, most) {
  let rest = [...faces].sort((a, b) => b.score - a.score);
  const kept = [];
  while (rest.length) {
    const best = rest[0];
    const group = rest.filter((face) => face === best || overlap(best.box, face.box) > most);
    rest = rest.filter((face) => !group.includes(face) && !nested(best.box, face.box));
    const total = group.reduce((sum, face) => sum + face.score, 0);
    const average = (value) => group.reduce((sum, face) => sum + value(face) * face.score, 0) / total;
    kept.push({
      score: best.score,
      box: best.box.map((_, i) => average((face) => face.box[i])),
      keypoints: best.keypoints.map((point, i) => point.map((_, axis) => average((face) => face.keypoints[i][axis]))),
    });
  }
  return kept;
}

/** The smallest centred square {left, top, side} around a picture. */
function square({ width, height }) {
  const side = Math.max(width, height);
  return { left: -Math.floor((side - width) / 2), top: -Math.floor((side - height) / 2), side };
}

/** The side of a tile of a picture of this size. */
const tileSide = (height, width, { tile, tiles_along: along }) =>
  Math.ceil(Math.max(tile * Math.min(height, width), Math.max(height, width) / along));

/** The squares [left, top, side] that cover a large picture, evenly spaced, row after row. */
export function tiles(height, width, settings) {
  const side = tileSide(height, width, settings);
  const step = side * (1 - settings.tile_overlap);
  const starts = (length) => {
    if (length <= side) return [-Math.floor((side - length) / 2)];
    const count = Math.ceil((length - side) / step);
    return Array.from({ length: count + 1 }, (_, i) => rint((i * (length - side)) / count));
  };
  return starts(height).flatMap((top) => starts(width).map((left) => [left, top, side]));
}

/** Which [first, end) rows and columns of the network's input hold picture, in whole cells of its coarser grid. */
function shownWindow(image, left, top, side, { size, grids }) {
  const cell = size / Math.min(...grids.map(([cells]) => cells));
  const range = (length, start) => {
    const first = clamp(Math.floor(((0 - start) * size) / side / cell), 0, size / cell - 1);
    const end = clamp(Math.ceil(((length - start) * size) / side / cell), first + 1, size / cell);
    return [first * cell, end * cell];
  };
  return { rows: range(image.height, top), columns: range(image.width, left) };
}

/** The pixels of a window of an input of RGB bytes (size, size, 3). */
function cropInput(pixels, size, { rows, columns }) {
  const width = 3 * (columns[1] - columns[0]);
  const result = new Uint8Array((rows[1] - rows[0]) * width);
  for (let row = rows[0]; row < rows[1]; row++) {
    const start = 3 * (row * size + columns[0]);
    result.set(pixels.subarray(start, start + width), (row - rows[0]) * width);
  }
  return result;
}

/** The centre [x, y] of each anchor of a window, in the order of the network's outputs. */
function anchors(settings, { rows, columns }) {
  const centres = [];
  for (const [cells, each] of settings.grids) {
    const cell = settings.size / cells;
    for (let y = rows[0] / cell; y < rows[1] / cell; y++) {
      for (let x = columns[0] / cell; x < columns[1] / cell; x++) {
        for (let i = 0; i < each; i++) centres.push([x * cell + cell / 2, y * cell + cell / 2]);
      }
    }
  }
  return centres;
}

/** BlazeFace: `run(pixels, height, width)` takes bytes (height, width, 3) and gives {logits (A), boxes (A, 16)}. */
export class Detector {
  constructor(settings, run) {
    this.settings = settings;
    this.run = run;
  }

  /** The faces {box, score, keypoints} of a picture, the most certain first; a large one is halved once for all looks. */
  async detect(image, options) {
    let times = 0;
    while (tileSide(image.height >> times, image.width >> times, this.settings) >= 4 * this.settings.size) times++;
    const back = (values) => values.map((value) => value * 2 ** times);
    const found = await this.search(halved(image, times), options);
    return found.map((face) => ({ ...face, box: back(face.box), keypoints: face.keypoints.map(back) }));
  }

  /** The faces that one look at the whole picture shows, without a border and without tiles: enough to tell which way up it is. */
  async glance(image) {
    const { left, top, side } = square(image);
    const faces = [];
    for (const face of await this.look(image, left, top, side)) faces.push(await this.lookAgain(image, face, side));
    return faces;
  }

  /** The faces by all looks that a picture needs. */
  async search(image, { tiled = false } = {}) {
    const { width, height } = image;
    const { left, top, side } = square(image);
    let found = await this.look(image, left, top, side);
    for (const border of this.settings.borders) {
      if (found.length) break;
      const edge = rint(side * border);
      found = await this.look(image, left - edge, top - edge, side + 2 * edge);
      found = found.filter((face) => this.fills(face, side));
    }
    const faces = [];
    for (const face of found) faces.push(await this.lookAgain(image, face, side));
    if (tiled && this.needsTiles(faces, side)) {
      for (const tile of tiles(height, width, this.settings)) faces.push(...(await this.lookInside(image, ...tile)));
    }
    return suppress(faces, this.settings.overlap);
  }

  /** Whether a picture with this longer side may hold faces that one look does not see. */
  needsTiles(faces, side) {
    const smallest = Math.min(...faces.map(({ box }) => Math.max(box[2], box[3])));
    return side > this.settings.tiles_from && (!faces.length || smallest < this.settings.tiles_below * side);
  }

  /** The faces of one square of the picture. */
  async look(image, left, top, side) {
    const { size, score, overlap: most } = this.settings;
    const shown = shownWindow(image, left, top, side, this.settings);
    const [height, width] = [shown.rows, shown.columns].map(([first, end]) => end - first);
    const pixels = cropInput(cutLook(image, left, top, side, size), size, shown);
    const { logits, boxes } = await this.run(pixels, height, width);
    const least = Math.log(score / (1 - score));
    const scale = side / size;
    const faces = [];
    anchors(this.settings, shown).forEach(([anchorX, anchorY], at) => {
      if (!(logits[at] > least)) return;
      const value = boxes.subarray(16 * at, 16 * at + 16);
      const place = (i) => [(value[i] + anchorX) * scale + left, (value[i + 1] + anchorY) * scale + top];
      const [x, y] = place(0);
      const [wide, high] = [value[2] * scale, value[3] * scale];
      faces.push({
        box: [x - wide / 2, y - high / 2, wide, high],
        score: 1 / (1 + Math.exp(-logits[at])),
        keypoints: [4, 6, 8, 10, 12, 14].map(place),
      });
    });
    return suppress(faces, most);
  }

  /** Frame a face that fills most of the picture better: by the face that a square around its box shows. */
  async lookAgain(image, face, side) {
    const [left, top, width, height] = face.box;
    if (!this.fills(face, side)) return face;
    const reach = this.settings.second_look * Math.max(width, height);
    let best = face;
    let most = this.settings.overlap;
    for (const other of await this.look(image, left + (width - reach) / 2, top + (height - reach) / 2, reach)) {
      const shared = overlap(face.box, other.box);
      if (shared > most) [best, most] = [other, shared];
    }
    return best;
  }

  /** Whether a face fills most of a square with this side. */
  fills(face, side) {
    return Math.max(face.box[2], face.box[3]) > this.settings.close_up * side;
  }

  /** The faces of a tile; a box that crosses an inner side of it is left to the neighbour or the whole picture. */
  async lookInside(image, left, top, side) {
    return (await this.look(image, left, top, side)).filter(
      ({ score, box: [x, y, width, height] }) =>
        score >= this.settings.tile_score &&
        (left <= 0 || x >= left) &&
        (top <= 0 || y >= top) &&
        (left + side >= image.width || x + width <= left + side) &&
        (top + side >= image.height || y + height <= top + side),
    );
  }
}

/** The face square {x, y, side} of a box: its centre and side. */
export function faceSquare([left, top, width, height], framing) {
  const size = Math.sqrt(width * height);
  return {
    x: left + width / 2 + framing.shift_x * size,
    y: top + height / 2 + framing.shift_y * size,
    side: size * framing.scale,
  };
}

/** Cut a square out of a picture: grey bytes (size, size); pixels outside repeat its edge (preprocess.cut, angle 0). */
export function cutFace(image, square, size) {
  const block = Math.max(1, Math.trunc(square.side / size + 0.5));
  const region = greyBlocks(image, square, block);
  const step = square.side / size / block;
  const middle = (size - 1) / 2;
  const originX = (square.x - region.left) / block - 0.5 - step * middle;
  const originY = (square.y - region.top) / block - 0.5 - step * middle;
  const taps = (origin, last) =>
    Array.from({ length: size }, (_, i) => {
      const at = origin + step * i;
      const low = Math.floor(at);
      return [clamp(low, 0, last), clamp(low + 1, 0, last), at - low];
    });
  const columns = taps(originX, region.width - 1);
  const crop = new Uint8Array(size * size);
  taps(originY, region.height - 1).forEach(([above, below, down], row) => {
    const upper = above * region.width;
    const lower = below * region.width;
    columns.forEach(([before, after, along], column) => {
      const high = region.data[upper + before] * (1 - along) + region.data[upper + after] * along;
      const deep = region.data[lower + before] * (1 - along) + region.data[lower + after] * along;
      crop[row * size + column] = rint(high * (1 - down) + deep * down);
    });
  });
  return crop;
}

/** The grey region {data, width, height, left, top} that a square needs, averaged over blocks (preprocess._blocks). */
function greyBlocks(image, { x, y, side }, block) {
  const reach = side / 2;
  const left = clamp(Math.floor(x - reach) - block, 0, image.width - 1);
  const top = clamp(Math.floor(y - reach) - block, 0, image.height - 1);
  const most = (from, to) => block * Math.max(1, Math.ceil((to - from) / block) + 1);
  const wide = Math.min(most(left, Math.ceil(x + reach)), image.width - left);
  const high = Math.min(most(top, Math.ceil(y + reach)), image.height - top);
  const across = Math.min(block, wide);
  const down = Math.min(block, high);
  const width = Math.ceil(wide / block);
  const height = Math.ceil(high / block);
  const data = new Uint8Array(width * height);
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0; column < width; column++, to++) {
      let sum = 0;
      for (let i = 0; i < down; i++) {
        const line = (top + Math.min(row * block + i, high - 1)) * image.width + left;
        for (let k = 0; k < across; k++) {
          const at = 4 * (line + Math.min(column * block + k, wide - 1));
          sum += grey(image.data[at], image.data[at + 1], image.data[at + 2]);
        }
      }
      const mean = sum / (across * down);
      data[to] = across === 2 && down === 2 ? Math.floor(mean + 0.5) : rint(mean);
    }
  }
  return { data, width, height, left, top };
}

/** OpenCV's grey of a colour, in whole numbers. */
const grey = (red, green, blue) => (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15;

/** Network input of grey bytes. */
export function normalise(crop, { mean, std }) {
  return Float32Array.from(crop, (value) => Math.fround(value - Math.fround(mean)) / Math.fround(std));
}

/** Probabilities of logits divided by a temperature. */
export function softmax(logits, temperature = 1) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** A run: finds faces and classifies them; `networks` are functions from input (N, size, size, 1) to {logits (N, K), features
 * (N, D) or undefined}. */
export class Engine {
  constructor(run, detector, networks) {
    this.run = run;
    this.detector = new Detector(run.detector.settings, detector);
    this.networks = networks;
  }

  /** The faces of a picture with their expressions, largest first; with their features, where the networks give some. */
  async predict(image, options) {
    const found = await this.detector.detect(image, options);
    found.sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]);
    const { rows, features } = await this.answer(image, found.map((face) => face.box));
    return found.map((face, i) => ({ ...this.describe(face, rows[i]), features: features[i] }));
  }

  /** Calibrated probabilities (N, K) of boxes. */
  async classify(image, boxes) {
    return (await this.answer(image, boxes)).rows;
  }

  /** What the networks make of boxes: {rows (N, K) of calibrated probabilities, features (N, D)}; an ensemble's features are
   * its members' side by side. */
  async answer(image, boxes) {
    if (!boxes.length) return { rows: [], features: [] };
    const { labels, temperature, networks } = this.run;
    const answers = [];
    const given = [];
    for (const [at, network] of networks.entries()) {
      const { size } = network.input;
      const input = new Float32Array(boxes.length * size * size);
      boxes.forEach((box, i) => {
        input.set(normalise(cutFace(image, faceSquare(box, network.framing), size), network.input), i * size * size);
      });
      const { logits, features } = await this.networks[at](input, [boxes.length, size, size, 1]);
      const row = (data, i) => data.subarray((i * data.length) / boxes.length, ((i + 1) * data.length) / boxes.length);
      answers.push(boxes.map((_, i) => row(logits, i)));
      given.push(features && boxes.map((_, i) => row(features, i)));
    }
    const features = boxes.map((_, i) => (given.every(Boolean) ? given.flatMap((rows) => Array.from(rows[i])) : undefined));
    if (networks.length === 1) return { rows: answers[0].map((row) => softmax(row, temperature)), features };
    const rows = boxes.map((_, i) => {
      const members = answers.map((each, at) => softmax(each[i], networks[at].temperature));
      const mean = labels.map((_, k) => members.reduce((sum, row, at) => sum + networks[at].share * row[k], 0));
      return softmax(mean.map((value) => Math.log(Math.max(value, 1e-9))), temperature);
    });
    return { rows, features };
  }

  /** Join a face and its probabilities. */
  describe(face, probabilities) {
    const best = probabilities.indexOf(Math.max(...probabilities));
    return {
      ...face,
      label: this.run.labels[best],
      confidence: probabilities[best],
      probabilities,
      uncertain: probabilities[best] < this.run.threshold,
    };
  }
}
