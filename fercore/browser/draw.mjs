// What is drawn: marks over the picture, bars, the timeline, and the chart of a sitting. Boxes are in pixels of the picture.

import { percent, spoken } from "./record.mjs";

const SPAN = 30; // seconds that the timeline shows
const GAP = 3; // seconds without a row that break the timeline

/** Black or white, whichever is read better on a colour (#RRGGBB), by WCAG's relative luminance; `labels.ink` in Python. */
export function ink(colour) {
  const [red, green, blue] = [1, 3, 5]
    .map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  return light / 0.05 >= 1.05 / light ? "#000000" : "#FFFFFF";
}

/** The label, colour and words of a track: the lasting label, or the likeliest one while there is none. */
export function told(track, run) {
  const { shown, average, uncertain } = track.smoother;
  const best = shown ?? average.indexOf(Math.max(...average));
  const unsure = uncertain || shown === null;
  const text = `${unsure ? "perhaps " : ""}${run.labels[best]} ${percent(average[best])}`;
  return { label: run.labels[best], colour: run.colours[best], unsure, text };
}

/** Draw a box and a tag for each face. `view` is {scale, mirrored, width}: of the canvas to the picture, and its width. */
export function drawMarks(context, tracks, run, followed, view, font) {
  const { scale, mirrored, width } = view;
  const line = Math.max(2, view.width / 240);
  const height = Math.max(13, Math.min(22, view.width / 34));
  for (const track of tracks) {
    const [left, top, wide, high] = track.box.map((value) => value * scale);
    const x = mirrored ? width - left - wide : left;
    const { colour, unsure, text } = told(track, run);
    context.lineJoin = "round";
    for (const [style, thick] of [["rgba(255, 255, 255, 0.85)", line + 2], [colour, line]]) {
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.setLineDash(unsure && style === colour ? [3 * line, 3 * line] : []);
      context.beginPath();
      context.roundRect(x, top, wide, high, 3 * line);
      context.stroke();
    }
    context.setLineDash([]);
    context.font = `600 ${height}px ${font}`;
    context.textBaseline = "middle";
    const words = tracks.length > 1 ? `${track.id === followed ? "▸ " : ""}${track.id}  ${text}` : text;
    const tagWidth = context.measureText(words).width + height;
    const tagHeight = 1.6 * height;
    const tagX = Math.min(Math.max(0, x), Math.max(0, width - tagWidth));
    const tagY = top >= tagHeight + line ? top - tagHeight - line : Math.max(0, top + line);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(tagX, tagY, tagWidth, tagHeight, tagHeight / 4);
    context.fill();
    context.fillStyle = ink(colour);
    context.fillText(words, tagX + height / 2, tagY + tagHeight / 2 + 1);
  }
}

/** Fill an element with a bar a label; the numbers stand beside them as text. */
export function drawBars(element, run, values) {
  if (element.childElementCount !== 3 * run.labels.length || element.dataset.labels !== run.labels.join()) {
    element.dataset.labels = run.labels.join();
    element.replaceChildren(
      ...run.labels.flatMap((label, i) => {
        const [name, track, fill, number] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
        name.textContent = label;
        track.className = "track";
        track.ariaHidden = "true";
        fill.style.background = run.colours[i];
        track.append(fill);
        number.className = "number";
        return [name, track, number];
      }),
    );
  }
  run.labels.forEach((_, i) => {
    const value = values?.[i] ?? 0;
    element.children[3 * i + 1].firstElementChild.style.width = `${(100 * value).toFixed(1)}%`;
    element.children[3 * i + 2].textContent = values ? percent(value) : "–";
  });
}

/** Draw rows {time, average} as bands, each label's as high as its probability, into a rectangle {x, y, width, height}. */
function drawBands(context, rows, run, from, until, area) {
  const across = (time) => area.x + ((time - from) / (until - from)) * area.width;
  const runs = [];
  for (const row of rows) {
    const last = runs.at(-1)?.at(-1);
    if (!last || row.time - last.time > GAP) runs.push([]);
    runs.at(-1).push(row);
  }
  for (const part of runs.filter((rows) => rows.length > 1)) {
    const below = part.map(() => 0);
    run.labels.forEach((_, i) => {
      const above = part.map((row, at) => below[at] + row.average[i]);
      context.beginPath();
      part.forEach((row, at) => context.lineTo(across(row.time), area.y + area.height * (1 - above[at])));
      for (let at = part.length - 1; at >= 0; at--) {
        context.lineTo(across(part[at].time), area.y + area.height * (1 - below[at]));
      }
      context.closePath();
      context.fillStyle = run.colours[i];
      context.fill();
      below.splice(0, below.length, ...above);
    });
  }
}

/** Draw the last half minute of a face's probabilities. */
export function drawTimeline(context, rows, run, now, size, look) {
  const { width, height } = size;
  const foot = 20;
  const area = { x: 0, y: 4, width, height: height - foot - 4 };
  context.clearRect(0, 0, width, height);
  context.fillStyle = look.faint;
  context.beginPath();
  context.roundRect(area.x, area.y, area.width, area.height, 6);
  context.fill();
  context.save();
  context.clip();
  drawBands(context, rows, run, now - SPAN, now, area);
  context.restore();
  context.font = `12px ${look.font}`;
  context.fillStyle = look.text;
  context.globalAlpha = 0.72;
  context.textBaseline = "alphabetic";
  const marks = width < 420 ? 3 : 6;
  for (let i = 0; i <= marks; i++) {
    context.textAlign = i === 0 ? "left" : i === marks ? "right" : "center";
    const ago = Math.round((SPAN * (marks - i)) / marks);
    context.fillText(ago ? `${ago} s ago` : "now", area.x + (area.width * i) / marks, height - 4);
  }
  context.globalAlpha = 1;
  context.textAlign = "left";
}

/** The chart of a sitting as a canvas: its finding, the bands of the face that was there longest, the labels. */
export function drawChart(recording, title, font) {
  const [width, height, scale] = [1000, 420, 2];
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = "#FFFFFF";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "#23222E";
  context.font = `600 22px ${font}`;
  context.fillText(title, 48, 44);
  const rows = recording.longest();
  context.font = `14px ${font}`;
  context.fillStyle = "#5C5A6B";
  const face = recording.faces > 1 ? `Face ${rows[0]?.id} of ${recording.faces}, the one that was there longest. ` : "";
  const of = recording.sample ? ", of the sample picture" : "";
  context.fillText(`${face}Smoothed probabilities of ${recording.run.name}${of}`, 48, 68);
  const area = { x: 48, y: 88, width: width - 96, height: 240 };
  context.fillStyle = "#F6F6FA";
  context.fillRect(area.x, area.y, area.width, area.height);
  const until = Math.max(recording.seconds, 1);
  drawBands(context, rows, recording.run, 0, until, area);
  context.fillStyle = "#5C5A6B";
  for (let i = 0; i <= 4; i++) {
    context.textAlign = ["left", "center", "center", "center", "right"][i];
    context.fillText(spoken((until * i) / 4), area.x + (area.width * i) / 4, area.y + area.height + 22);
  }
  context.textAlign = "left";
  let x = 48;
  let y = 384;
  recording.run.labels.forEach((label, i) => {
    const step = context.measureText(label).width + 42;
    if (x + step > width - 48) [x, y] = [48, y + 22];
    context.fillStyle = recording.run.colours[i];
    context.beginPath();
    context.roundRect(x, y - 11, 14, 14, 3);
    context.fill();
    context.fillStyle = "#23222E";
    context.fillText(label, x + 20, y + 1);
    x += step;
  });
  return canvas;
}
