// The visitor's camera, or a sample picture in its place: asked for, opened, and its failures in plain sentences.

const PROBLEMS = {
  NotAllowedError: "The camera is not allowed here. Allow it in the browser's address bar, then try again.",
  SecurityError: "The camera is switched off by this browser's settings. Allow it there, then try again.",
  NotFoundError: "There is no camera. Connect one, then try again.",
  NotReadableError: "The camera is busy: another program uses it. Close that program, then try again.",
  AbortError: "The camera did not start. Unplug and reconnect it, or restart the browser, then try again.",
  OverconstrainedError: "The chosen camera is gone. Choose another, then try again.",
};
const INSECURE =
  "Browsers give the camera only to pages that come over HTTPS or from this very computer (localhost). Open this page so.";
const FRAMED =
  "This page is shown inside another site, which does not pass the camera on. Open the app in a tab of its own.";

const SAMPLE_SIZE = { width: 640, height: 480 };
const TOUR = 14; // seconds after which the sample picture has been moved once around

/** Why the camera cannot be had, as a sentence. */
export class CameraError extends Error {}

/** Open a camera: {stream, mirrored}. Throws `CameraError`. */
export async function openCamera(deviceId) {
  if (!navigator.mediaDevices?.getUserMedia) throw new CameraError(INSECURE);
  const policy = document.permissionsPolicy ?? document.featurePolicy;
  if (policy && !policy.allowsFeature("camera")) throw new CameraError(FRAMED);
  const size = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...size, ...which } });
    const facing = stream.getVideoTracks()[0].getSettings?.().facingMode;
    return { stream, mirrored: facing !== "environment" };
  } catch (error) {
    throw new CameraError(PROBLEMS[error.name] ?? `The camera did not start (${error.name}). Try again.`);
  }
}

/** A stream that shows a square picture, slowly moved and zoomed, as a camera would: {stream, mirrored}. Throws `CameraError`. */
export async function openSample(url) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => {
    throw new CameraError("The sample picture could not be loaded. Reload the page, then try again.");
  });
  const canvas = Object.assign(document.createElement("canvas"), SAMPLE_SIZE);
  const context = canvas.getContext("2d");
  const stream = canvas.captureStream(30);
  const [track] = stream.getVideoTracks();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const begun = performance.now();
  const draw = () => {
    if (track.readyState === "ended") return;
    const [left, top, width, height] = sampleView(still ? 0 : (performance.now() - begun) / 1000);
    const size = image.naturalWidth;
    context.drawImage(image, left * size, top * size, width * size, height * size, 0, 0, canvas.width, canvas.height);
    requestAnimationFrame(draw);
  };
  draw();
  return { stream, mirrored: false };
}

/** The part of the sample picture that is shown after so many seconds, as shares of its side: left, top, width, height. */
export function sampleView(seconds) {
  const angle = (2 * Math.PI * seconds) / TOUR;
  const width = 0.7 - 0.16 * (1 - Math.cos(angle)) / 2;
  const height = (width * SAMPLE_SIZE.height) / SAMPLE_SIZE.width;
  return [0.44 + 0.05 * Math.sin(angle) - width / 2, Math.max(0, 0.25 + 0.03 * Math.sin(2 * angle) - height / 2), width, height];
}

/** The cameras there are, as {id, name}; names are known only after one has been allowed. */
export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  return devices
    .filter((device) => device.kind === "videoinput" && device.deviceId)
    .map((device, i) => ({ id: device.deviceId, name: device.label || `Camera ${i + 1}` }));
}

/** Tells when a video shows a picture that was not taken yet, so that a slow reader never waits for the one after. */
export class Pictures {
  constructor(video) {
    this.video = video;
    this.shown = 0;
    this.taken = 0;
    this.wake = () => {};
    this.watch();
  }

  watch() {
    const again = () => {
      if (this.closed) return;
      this.shown += 1;
      this.wake();
      this.watch();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
  }

  /** Wait for a new picture. */
  async next() {
    if (this.shown === this.taken && !this.closed) await new Promise((resolve) => (this.wake = resolve));
    this.taken = this.shown;
  }

  close() {
    this.closed = true;
    this.wake();
  }
}

/** Reads a video's pixels. */
export class Grabber {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  /** Take the current picture, its longer side at most `longest`; return its scale against the video's own pixels. */
  grab(video, longest) {
    const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.max(1, Math.round(video.videoWidth * scale));
    const height = Math.max(1, Math.round(video.videoHeight * scale));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.drawImage(video, 0, 0, width, height);
    return scale;
  }

  /** The picture that was taken, as {data, width, height}. */
  pixels() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  /** The same as a JPEG in base64. */
  async jpeg(quality = 0.8) {
    const blob = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", quality));
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
  }
}
