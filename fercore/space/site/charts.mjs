// Draws the charts that Python wrote into the page, one after the other, with Vega (js/vega.js, one copy for all pages), and gives
// charts and tables their downloads.

import { save } from "./site.mjs";

const INK = "currentColor"; // the page's own, so that a chart follows when light turns to dark
const FAINT = { gridColor: INK, gridOpacity: 0.12, domainColor: INK, domainOpacity: 0.3, tickColor: INK, tickOpacity: 0.3 };
const TEXT = { labelColor: INK, titleColor: INK, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400 };

function config(font) {
  return {
    background: "transparent",
    font,
    padding: { left: 2, right: 26, top: 6, bottom: 4 },
    view: { stroke: null },
    axis: { ...TEXT, ...FAINT, labelOpacity: 0.85, titleOpacity: 0.7, titlePadding: 8, labelPadding: 5 },
    legend: { ...TEXT, labelOpacity: 0.85 },
    mark: { tooltip: true },
  };
}

async function draw(figure) {
  const plot = figure.querySelector(".plot");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, config: config(getComputedStyle(plot).fontFamily) };
  const { view } = await globalThis.vegaEmbed(plot, spec, options);
  plot.querySelector("svg").setAttribute("aria-hidden", "true"); // the plot itself has the words
  const { name } = figure.dataset;
  const tools = figure.querySelector(".tools");
  tools.prepend(
    button("Numbers (CSV)", () => save(`${name}.csv`, csv(figure.querySelector("table")), "text/csv")),
    button("Picture (PNG)", async () => save(`${name}.png`, await png(view, figure.querySelector("h3").textContent))),
  );
  figure.dataset.drawn = "";
}

function button(text, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", act);
  return element;
}

function csv(table) {
  const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [...table.rows].map((row) => `${[...row.cells].map((cell) => quote(cell.textContent)).join(",")}\n`).join("");
}

/** The chart under its finding, on white, for a report. */
async function png(view, title) {
  const chart = await view.toCanvas(2);
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const font = `600 32px ${getComputedStyle(document.body).fontFamily}`;
  context.font = font;
  const lines = [""];
  for (const word of title.split(" ")) {
    if (context.measureText(`${lines.at(-1)} ${word}`).width > chart.width - 32) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  canvas.width = chart.width;
  canvas.height = chart.height + 44 * lines.length + 32;
  context.fillStyle = "#FFFFFF";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#23222E";
  context.font = font;
  lines.forEach((text, at) => context.fillText(text, 16, 44 * (at + 1)));
  context.drawImage(chart, 0, 44 * lines.length + 24);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

for (const figure of document.querySelectorAll(".chart")) {
  try {
    await draw(figure);
  } catch (error) {
    figure.querySelector(".plot").textContent = `This browser cannot draw the chart (${error.message}); its numbers are below.`;
  }
}
for (const box of document.querySelectorAll(".scroll[data-name]")) {
  const tools = document.createElement("div");
  tools.className = "tools";
  const file = `${box.dataset.name}.csv`;
  tools.append(button("Download this table (CSV)", () => save(file, csv(box.querySelector("table")), "text/csv")));
  box.after(tools);
}
document.body.dataset.state = "ready";
