// Photos, read and classified in the browser by the engine of the Live page. Nothing in here sends anything.

import { drawBars, drawMarks, Engine, FileError, openRun, Pace, percent } from "./fercore.mjs";
import { look } from "./look.mjs";
import { chosen, fill, keep, save, settings } from "./site.mjs";

const LONGEST = 1600; // pixels of the longer side of a photo that is looked at
const MOST = 40; // photos that are kept

const { runs, runtime, turning } = settings();
const part = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const photos = []; // {name, picture, error, faces, card}, the newest first
let choice = chosen({ runs });
let engine; // the promise of the chosen run's engine
let line = Promise.resolve(); // one photo after the other

/** Load the chosen run's network; resolves to undefined where that failed or another was chosen meanwhile. */
function load() {
  const run = choice.run?.heads[choice.head];
  part.again.hidden = true;
  part.progress.hidden = !run;
  document.body.dataset.state = "loading";
  if (!run) {
    const why = runs[0] ? `${runs[0].name}: ${runs[0].refusal}` : "there is no run";
    say(`No run here can be served by a browser (${why}).`, true);
    return (engine = Promise.resolve());
  }
  const files = [runtime.code, runtime.wasm, run.detector.file, ...run.networks.map(({ file }) => file)];
  const size = Math.round(files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6);
  say(`Loading the network (${size} MB); the next time it is here already …`);
  const pace = new Pace();
  const report = (share) => {
    if (mine !== engine) return;
    part.progress.value = share;
    part.eta.textContent = pace.left(share);
  };
  const mine = openRun(run, runtime, report).then(
    ({ detector, networks }) => {
      if (mine !== engine) return undefined;
      ready(run);
      return new Engine(run, detector, networks);
    },
    (error) => {
      if (mine !== engine) return undefined;
      say(error instanceof FileError ? `The network could not be loaded. ${error.message}` : `This browser cannot run it: ${error.message}`, true);
      part.again.hidden = false;
      return undefined;
    },
  );
  engine = mine;
  return mine;
}

function ready(run) {
  part.progress.hidden = true;
  part.eta.textContent = "";
  document.body.dataset.state = "ready";
  say(`${run.name} is ready and knows ${run.labels.join(", ")}.`);
  part.doubt.textContent =
    "“Perhaps” and a dashed box: the confidence lies below the threshold that the validation faces chose; down there answers are " +
    `wrong more often than right, so the label is given with reserve. Here the threshold is ${percent(run.threshold)}.`;
}

function say(sentence, problem = false) {
  part.status.textContent = sentence;
  part.status.toggleAttribute("data-problem", problem);
  if (problem) {
    part.progress.hidden = true;
    part.eta.textContent = "";
    document.body.dataset.state = "problem";
  }
}

/** Take in files: each gets its card at once, and its answer when its turn comes. */
function take(files) {
  for (const file of files) {
    const photo = { name: file.name || "pasted picture", card: document.createElement("article") };
    photo.card.className = "photo";
    photo.card.setAttribute("aria-label", photo.name);
    photo.card.append(text("p", `${photo.name} …`, "note"));
    photos.unshift(photo);
    part.photos.prepend(photo.card);
    for (const old of photos.splice(MOST)) old.card.remove();
    line = line.then(() => open(file, photo)).then(() => answer(photo));
  }
}

async function open(file, photo) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    photo.picture = document.createElement("canvas");
    photo.picture.width = Math.max(1, Math.round(bitmap.width * scale));
    photo.picture.height = Math.max(1, Math.round(bitmap.height * scale));
    photo.scale = photo.picture.width / bitmap.width;
    const context = photo.picture.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#FFFFFF"; // what is transparent is white, as in the app
    context.fillRect(0, 0, photo.picture.width, photo.picture.height);
    context.drawImage(bitmap, 0, 0, photo.picture.width, photo.picture.height);
    bitmap.close();
  } catch {
    photo.error = "is no picture that this browser can read; save it as JPEG, PNG or WebP.";
  }
}

async function answer(photo) {
  if (photo.error) return show(photo);
  for (let mine; mine !== engine; ) photo.engine = await (mine = engine); // another run may be chosen while this one loads
  if (!photo.engine) return;
  try {
    photo.faces = await look(photo.engine, photo.picture, turning);
  } catch (error) {
    photo.faces = undefined;
    photo.trouble = `This browser could not run the network on it: ${error.message}`;
  }
  show(photo);
}

const spoken = (face) => `${face.uncertain ? "perhaps " : ""}${face.label} (${percent(face.confidence)})`;

/** Draw a photo's card. */
function show(photo) {
  const { card, faces = [] } = photo;
  const problem = photo.error ?? photo.trouble;
  part.downloads.hidden = false;
  card.toggleAttribute("data-problem", Boolean(problem));
  if (problem) return card.replaceChildren(text("p", `${photo.name} ${problem}`));
  const { run } = photo.engine;
  const canvas = document.createElement("canvas");
  canvas.width = photo.picture.width;
  canvas.height = photo.picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(photo.picture, 0, 0);
  const tracks = faces.map((face, at) => {
    const shown = run.labels.indexOf(face.label);
    return { id: at + 1, box: face.box, smoother: { shown, average: face.probabilities, uncertain: face.uncertain } };
  });
  drawMarks(context, tracks, run, undefined, { width: canvas.width, scale: 1, mirrored: false }, getComputedStyle(card).fontFamily);
  canvas.role = "img";
  canvas.ariaLabel = faces.length
    ? `${photo.name} with ${faces.length} marked: ${faces.map((face, at) => `face ${at + 1} ${spoken(face)}`).join("; ")}`
    : `${photo.name}: no face found`;
  const answers = document.createElement("div");
  answers.className = "answers";
  const count = faces.length === 1 ? "1 face" : `${faces.length || "no"} faces`;
  answers.append(text("h2", photo.name), text("p", `${count}, answered by ${run.name}`, "note"));
  if (!faces.length) answers.append(text("p", "No face was found. Try a picture in which a face is larger or better lit."));
  faces.forEach((face, at) => {
    const bars = document.createElement("div");
    bars.className = "bars";
    drawBars(bars, run, face.probabilities);
    answers.append(text("p", `${faces.length > 1 ? `${at + 1}  ` : ""}${spoken(face)}`, "answer"), bars);
  });
  const figure = document.createElement("figure");
  figure.append(canvas);
  card.replaceChildren(figure, answers);
  part.doubt.hidden = !photos.some((other) => other.faces?.some((face) => face.uncertain));
}

function text(tag, content, kind = "") {
  const element = document.createElement(tag);
  element.textContent = content;
  element.className = kind;
  return element;
}

/** What `python -m fercore predict --json` says of a face. */
function told({ scale, engine }, face) {
  const rounded = (value) => Number(value.toFixed(4));
  return {
    box: face.box.map((value) => Number((value / scale).toFixed(1))),
    score: rounded(face.score),
    label: face.label,
    confidence: rounded(face.confidence),
    probabilities: Object.fromEntries(engine.run.labels.map((label, i) => [label, rounded(face.probabilities[i])])),
    uncertain: face.uncertain,
  };
}

function asJson() {
  const rows = photos.map((photo) =>
    photo.faces
      ? { image: photo.name, faces: photo.faces.map((face) => told(photo, face)) }
      : { image: photo.name, error: photo.error ?? photo.trouble ?? "not looked at yet" },
  );
  return `${JSON.stringify(rows, null, 1)}\n`;
}

function asCsv() {
  const rows = photos.flatMap((photo) => (photo.faces ?? []).map((face, at) => [photo.name, at + 1, told(photo, face)]));
  const labels = [...new Set(rows.flatMap(([, , face]) => Object.keys(face.probabilities)))];
  const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell ?? ""));
  const head = ["image", "face", "left", "top", "width", "height", "score", "label", "confidence", "uncertain"];
  const lines = rows.map(([name, number, face]) => [
    ...[name, number, ...face.box, face.score, face.label, face.confidence, face.uncertain ? "True" : "False"],
    ...labels.map((label) => face.probabilities[label]),
  ]);
  return [[...head, ...labels.map((label) => `p_${label}`)], ...lines].map((cells) => `${cells.map(quote).join(",")}\n`).join("");
}

/** Offer the runs and heads; the photos that are there are answered anew. */
function choose(next) {
  choice = next;
  const { run, head } = choice;
  const names = runs.map(({ name, refusal }) => ({ name, text: refusal ? `${name} (not in a browser)` : name, disabled: !!refusal }));
  fill(part.run, names, run?.name);
  fill(part.head, Object.keys(run?.heads ?? {}).map((name) => ({ name })), head);
  part.heads.hidden = Object.keys(run?.heads ?? {}).length < 2;
  load();
  for (const photo of photos) line = line.then(() => answer(photo));
}

part.run.addEventListener("change", () => {
  const run = runs.find(({ name }) => name === part.run.value);
  keep({ run: run.name, head: run.head });
  choose({ run, head: run.head });
});
part.head.addEventListener("change", () => {
  keep({ head: part.head.value });
  choose({ run: choice.run, head: part.head.value });
});
part.again.addEventListener("click", () => choose(choice));
part.files.addEventListener("change", () => {
  take(part.files.files);
  part.files.value = "";
});
part.sample.addEventListener("click", async () => {
  const response = await fetch("portrait.jpg");
  take([new File([await response.blob()], "portrait.jpg")]);
});
part.json.addEventListener("click", () => save("expressions.json", asJson(), "application/json"));
part.csv.addEventListener("click", () => save("expressions.csv", asCsv(), "text/csv"));
part.clear.addEventListener("click", () => {
  photos.length = 0;
  part.photos.replaceChildren();
  part.doubt.hidden = part.downloads.hidden = true;
});
addEventListener("paste", ({ clipboardData }) => take([...clipboardData.files].filter(({ type }) => type.startsWith("image/"))));
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault(); // a photo that misses the field must not replace the page
    part.drop.toggleAttribute("data-over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
}

choose(choice);
