// A photo's faces with their expressions, however the photo lies: faces.detect_turned and Predictor.predict of Python.

const QUARTERS = [1, 3, 2]; // counterclockwise, in the order in which they are tried

/** The faces of a canvas, largest first, in its pixels. `turning` is {sure, surer, side} of faces.py. */
export async function look(engine, picture, turning) {
  const tiled = { tiled: true };
  let image = pixels(picture);
  let found = await engine.detector.detect(image, tiled);
  let turns = 0;
  const surest = score(found);
  if (surest < turning.sure) {
    const small = reduced(picture, turning.side);
    let least = Math.max(turning.sure, surest + turning.surer);
    for (const quarters of QUARTERS) {
      const there = score(await engine.detector.glance(pixels(turned(small, quarters))));
      if (there >= least) [turns, least] = [quarters, there];
    }
    if (turns) {
      image = pixels(turned(picture, turns));
      found = await engine.detector.detect(image, tiled);
    }
  }
  found.sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]);
  const rows = await engine.classify(image, found.map(({ box }) => box));
  return found.map((face, i) => ({ ...engine.describe(face, rows[i]), box: turnedBack(face.box, turns, image) }));
}

const pixels = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);

/** The highest score of a face that stands upright: its eyes lie side by side, the right one on the left. */
function score(faces) {
  const upright = faces.filter(({ keypoints: [right, left] }) => !(Math.abs(left[1] - right[1]) > left[0] - right[0]));
  return Math.max(0, ...upright.map((face) => face.score));
}

function reduced(picture, side) {
  const scale = side / Math.max(picture.width, picture.height, side);
  if (scale === 1) return picture;
  const canvas = blank(Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale)));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A picture turned counterclockwise. */
function turned(picture, quarters) {
  const [width, height] = quarters % 2 ? [picture.height, picture.width] : [picture.width, picture.height];
  const canvas = blank(width, height);
  const context = canvas.getContext("2d");
  context.translate(width / 2, height / 2);
  context.rotate((-quarters * Math.PI) / 2);
  context.drawImage(picture, -picture.width / 2, -picture.height / 2);
  return canvas;
}

function blank(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return canvas;
}

/** A box of a picture that was turned counterclockwise, in the picture as it was. */
function turnedBack([left, top, width, height], quarters, { width: across, height: down }) {
  if (quarters === 1) return [down - top - height, left, height, width];
  if (quarters === 2) return [across - left - width, down - top - height, width, height];
  if (quarters === 3) return [top, across - left - width, height, width];
  return [left, top, width, height];
}
