// Files and networks: fetched once, checked, kept in the browser's cache; networks run in ONNX Runtime, in a worker.
//
// A file is {urls, integrity, bytes}: where it may be had, what its content must hash to ("sha384-..." in base64), its size.

const CACHE = "fer-live";
const KEPT = 10; // files that stay in the cache: the runtime's two, the detector, and the networks used last

let runtime; // the promise of ONNX Runtime's module, one for the page
const sessions = new Map(); // promises of open networks, by integrity

/** Why a file could not be had, as a sentence. */
export class FileError extends Error {}

/** The bytes of a file, from the cache or the first address that gives what its hash asks for. */
export async function fetchChecked(file, progress = () => {}) {
  const cache = await globalThis.caches?.open(CACHE).catch(() => undefined);
  const key = new URL(`/${CACHE}/${encodeURIComponent(file.integrity)}`, location.origin).href;
  const kept = await cache?.match(key).catch(() => undefined);
  if (kept) {
    const data = await kept.arrayBuffer();
    if (await matches(data, file.integrity)) {
      progress(file.bytes);
      return data;
    }
  }
  for (const url of file.urls) {
    const data = await download(url, progress);
    if (data && (await matches(data, file.integrity))) {
      await keep(cache, key, data);
      return data;
    }
    progress(0);
  }
  const name = (file.urls.at(-1) ?? "a file").split("/").at(-1);
  throw new FileError(`${name} could not be loaded, or was not the file it should be.`);
}

async function download(url, progress) {
  try {
    const response = await fetch(url);
    if (!response.ok) return undefined;
    const reader = response.body.getReader();
    const parts = [];
    let length = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      length += part.value.length;
      progress(length);
    }
    return await new Blob(parts).arrayBuffer();
  } catch {
    return undefined;
  }
}

async function matches(data, integrity) {
  const [kind, expected] = integrity.split("-", 2);
  const digest = new Uint8Array(await crypto.subtle.digest(kind.replace("sha", "SHA-"), data));
  return btoa(String.fromCharCode(...digest)) === integrity.slice(kind.length + 1) && expected !== "";
}

async function keep(cache, key, data) {
  try {
    await cache?.put(key, new Response(data));
    const keys = (await cache?.keys()) ?? [];
    for (const old of keys.slice(0, Math.max(0, keys.length - KEPT))) await cache.delete(old);
  } catch {
    // A full or forbidden cache costs a download next time, nothing else.
  }
}

/** ONNX Runtime's module. It runs in a worker (`proxy`) on one thread, so the page stays smooth and needs no special headers. */
function loadRuntime(files, progress) {
  runtime ??= (async () => {
    const [code, wasm] = await Promise.all([
      fetchChecked(files.code, (done) => progress(files.code, done)),
      fetchChecked(files.wasm, (done) => progress(files.wasm, done)),
    ]);
    const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    module.env.wasm.numThreads = 1;
    module.env.wasm.proxy = true;
    module.env.wasm.wasmPaths = { wasm: URL.createObjectURL(new Blob([wasm], { type: "application/wasm" })) };
    return module;
  })();
  runtime.catch(() => (runtime = undefined));
  return runtime;
}

function openSession(ort, file, progress) {
  if (!sessions.has(file.integrity)) {
    const session = fetchChecked(file, (done) => progress(file, done)).then((data) =>
      ort.InferenceSession.create(new Uint8Array(data), { executionProviders: ["wasm"] }),
    );
    sessions.set(file.integrity, session);
    session.catch(() => sessions.delete(file.integrity));
  }
  return sessions.get(file.integrity);
}

let needed = []; // the networks' files of the run that was asked for last

const givesFeatures = (session) => session.outputNames.includes("features");

/** Load what a run needs: {detector, networks}, the functions that `Engine` takes, and whether all of the networks give
 * features. `progress` gets a share from 0 to 1. */
export async function openRun(run, files, progress = () => {}) {
  needed = [run.detector.file, ...run.networks.map((network) => network.file)];
  const wanted = [files.code, files.wasm, ...needed];
  const total = wanted.reduce((sum, file) => sum + file.bytes, 0);
  const done = new Map();
  const report = (file, bytes) => {
    done.set(file, Math.min(bytes, file.bytes));
    progress([...done.values()].reduce((sum, value) => sum + value, 0) / total);
  };
  const ort = await loadRuntime(files, report);
  const detector = await openSession(ort, run.detector.file, report);
  const networks = await Promise.all(run.networks.map((network) => openSession(ort, network.file, report)));
  for (const [integrity, session] of sessions) {
    if (needed.every((file) => file.integrity !== integrity)) {
      sessions.delete(integrity);
      session.then((old) => old.release()).catch(() => {});
    }
  }
  return {
    detector: async (pixels, height, width) => {
      const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
      const { logits, boxes } = await detector.run({ image });
      return { logits: logits.data, boxes: boxes.data };
    },
    networks: networks.map((session) => async (input, shape) => {
      const faces = new ort.Tensor("float32", input, shape);
      const wanted = givesFeatures(session) ? [run.head, "features"] : [run.head];
      const answer = await session.run({ [session.inputNames[0]]: faces }, wanted);
      return { logits: answer[run.head].data, features: answer.features?.data };
    }),
    features: networks.every(givesFeatures),
  };
}
