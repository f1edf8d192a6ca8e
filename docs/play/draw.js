// Colours, canvases, tables of numbers: how a tensor is shown.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => {
  const raw = new DataView(bytes(text).buffer);
  return Float32Array.from({ length: raw.byteLength / 4 }, (_, i) => raw.getFloat32(4 * i, true));
};

const shown = (value, digits = 2) => {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
};
const counted = (n) => n.toLocaleString("en");
const escaped = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** The colours of the page as [r, g, b], now: they follow the reader's choice of light or dark. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => {
    const hex = parseInt(style.getPropertyValue(`--${name}`).trim().slice(1), 16);
    return [hex >> 16, (hex >> 8) & 255, hex & 255];
  };
  return Object.fromEntries(["zero", "plus", "minus", "outside", "kernel", "ink", "line"].map((name) => [name, of(name)]));
}

/** Blue below zero, orange above, paper at zero; `share` is from -1 to 1. */
function diverging(share, colours) {
  const t = Math.min(1, Math.abs(share)), end = share < 0 ? colours.minus : colours.plus;
  return colours.zero.map((from, i) => Math.round(from + (end[i] - from) * t));
}
const css = (rgb) => `rgb(${rgb.join(" ")})`;

const largest = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

/** A canvas of so many points. */
function sized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return canvas.getContext("2d");
}

/** One map, (height, width), as squares of `side` points. */
function drawMap(context, values, height, width, { x = 0, y = 0, side = 1, most, colours }) {
  for (let h = 0; h < height; h++)
    for (let v = 0; v < width; v++) {
      context.fillStyle = css(diverging(values[h * width + v] / most, colours));
      context.fillRect(x + v * side, y + h * side, side, side);
    }
}

/** All channels of a tensor side by side, in one scale; of a vector, one square each. */
function drawTiles(canvas, tensor, most, colours) {
  const [C, H = 1, W = 1] = tensor.shape;
  const across = Math.ceil(Math.sqrt(C)), down = Math.ceil(C / across);
  const side = Math.max(2, Math.floor(360 / (across * (W + 0.6)))), gap = Math.max(4, Math.floor(side * 0.6));
  const context = sized(canvas, across * (W * side + gap) + gap, down * (H * side + gap) + gap);
  context.fillStyle = css(colours.outside);
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let c = 0; c < C; c++) {
    const x = gap + (c % across) * (W * side + gap), y = gap + Math.floor(c / across) * (H * side + gap);
    drawMap(context, tensor.data.subarray(c * H * W, (c + 1) * H * W), H, W, { x, y, side, most, colours });
  }
}

/** Figures in a row: [{title, note, tensor, most}]. */
function drawStrip(box, pictures) {
  const colours = palette();
  while (box.children.length > pictures.length) box.lastChild.remove();
  pictures.forEach(({ title, note, tensor, most }, i) => {
    if (!box.children[i]) {
      box.append(document.createElement("figure"));
      box.children[i].innerHTML = '<figcaption></figcaption><canvas role="img"></canvas>';
    }
    const [caption, canvas] = box.children[i].children, scale = most ?? largest(tensor.data);
    const shape = tensor.shape.join(" × ");
    caption.innerHTML = `<span>${title}</span>${note ? `<span class="faint">${note}</span>` : ""}<span class="faint">${shape}, ±${shown(scale)}</span>`;
    canvas.setAttribute("aria-label", `${title}, ${shape}, values up to ${shown(scale)}`);
    drawTiles(canvas, tensor, scale, colours);
  });
}

/** A small table of numbers, coloured by sign; the sign is written too. null is a point outside of the image. */
function numbers(caption, rows, most, digits = 2) {
  const colours = palette();
  const cell = (value) => {
    if (value === null) return '<td class="out">·</td>';
    const background = diverging((value / most) * 0.55, colours);
    return `<td style="background:${css(background)}" title="${value}">${shown(value, digits)}</td>`;
  };
  const body = rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`).join("");
  return `<table class="numbers"><caption>${caption}</caption><tbody>${body}</tbody></table>`;
}

/** Call a function when the reader changes between light and dark. */
const onColours = (draw) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
