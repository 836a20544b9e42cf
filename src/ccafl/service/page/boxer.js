// A box on a picture: by mouse, finger, arrow keys or numbers.

import { byId, fill, h } from "./dom.js";

const EDGE = 14; // a corner can be dragged from this many screen pixels away
const LEAST = 320; // smallest height of the picture in screen pixels, if there is room
const SIDES = ["Left", "Top", "Width", "Height"];

/**
 * Let somebody draw a box.
 *
 * @param {string} url of the picture
 * @param {string} name of the picture
 * @param {number[]|null} given the box so far: left, top, width, height in the upright picture's pixels
 * @returns {Promise<number[]|null|undefined>} the box, null for the whole picture, undefined for no change
 */
export function drawBox(url, name, given) {
  const dialog = byId("boxer");
  let box = given && [...given];
  let held = null; // the drag in progress: {kind, from, before}

  const image = h("img", { src: url, alt: "", draggable: "false" });
  const mark = h("div", { class: "mark" });
  const stage = h(
    "div",
    {
      class: "stage",
      tabindex: "0",
      role: "application",
      "aria-label": "Picture to draw on",
      "aria-describedby": "boxer-hint boxer-says",
    },
    image,
    mark,
  );
  const says = h("p", { id: "boxer-says", class: "hint", role: "status" });
  const fields = SIDES.map((side, n) =>
    h("input", {
      type: "number",
      id: `box-${n}`,
      min: n < 2 ? 0 : 1,
      step: 1,
      inputmode: "numeric",
      on: { change: written },
    }),
  );
  const use = h("button", { type: "submit", class: "primary", value: "use" }, "Use the box");
  fill(
    dialog,
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "boxer-heading" }, "Box around the person"),
      h(
        "p",
        { id: "boxer-hint", class: "hint" },
        `Drag across ${name}. On the keyboard, the arrow keys move the box and Shift with an arrow key resizes it. Or type its numbers.`,
      ),
      stage,
      h(
        "fieldset",
        { class: "numbers" },
        h("legend", {}, "In pixels"),
        SIDES.map((side, n) => h("label", { for: `box-${n}` }, `${side} `, fields[n])),
      ),
      says,
      h(
        "div",
        { class: "actions" },
        use,
        h("button", { type: "submit", value: "whole", formnovalidate: true }, "Whole picture"),
        h("button", { type: "submit", value: "", formnovalidate: true }, "Cancel"),
      ),
    ),
  );

  const size = () => [image.naturalWidth, image.naturalHeight];
  const scale = () => image.naturalWidth / (image.clientWidth || 1);

  function show() {
    mark.hidden = !box;
    use.disabled = !box;
    fields.forEach((field, n) => (field.value = box ? box[n] : ""));
    says.textContent = box ? `Box of ${box[2]} by ${box[3]} pixels.` : "No box yet: the whole picture is used.";
    if (!box || !image.clientWidth) return;
    const [left, top, width, height] = box.map((value) => `${value / scale()}px`);
    Object.assign(mark.style, { left, top, width, height });
  }

  /** Whole pixels, within the picture. */
  function put([x, y, width, height]) {
    const [across, down] = size();
    const inside = (value, least, most) => Math.min(Math.max(Math.round(value) || 0, least), Math.max(most, least));
    if (across) {
      x = inside(x, 0, across - 1);
      y = inside(y, 0, down - 1);
      box = [x, y, inside(width, 1, across - x), inside(height, 1, down - y)];
    } else {
      box = [x, y, width, height].map((value, n) => Math.max(Math.round(value) || 0, n < 2 ? 0 : 1));
    }
    show();
  }

  function written() {
    const numbers = fields.map((field) => field.valueAsNumber);
    const [across, down] = size();
    if (numbers.some(Number.isFinite))
      put(numbers.map((value, n) => (Number.isFinite(value) ? value : [0, 0, across || 1, down || 1][n])));
  }

  const at = (event) => {
    const frame = image.getBoundingClientRect();
    return [(event.clientX - frame.left) * scale(), (event.clientY - frame.top) * scale()];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || !image.naturalWidth) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    const from = at(event);
    held = { kind: "new", from, before: box };
    if (!box) return;
    const [x, y, width, height] = box;
    const reach = EDGE * scale();
    const corners = [
      [x, y],
      [x + width, y],
      [x, y + height],
      [x + width, y + height],
    ];
    const corner = corners.findIndex(([cx, cy]) => Math.abs(cx - from[0]) < reach && Math.abs(cy - from[1]) < reach);
    if (corner >= 0) held = { kind: "new", from: corners[3 - corner], before: box };
    else if (from[0] > x && from[0] < x + width && from[1] > y && from[1] < y + height)
      held = { kind: "move", from, before: box };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [across, down] = size();
    const clamp = ([x, y]) => [Math.min(Math.max(x, 0), across), Math.min(Math.max(y, 0), down)];
    const to = at(event);
    if (held.kind === "move") {
      const [x, y, width, height] = held.before;
      const moved = (start, n, length, whole) => Math.min(Math.max(start + to[n] - held.from[n], 0), whole - length);
      put([moved(x, 0, width, across), moved(y, 1, height, down), width, height]);
      return;
    }
    const [a, b] = [clamp(held.from), clamp(to)];
    const [width, height] = [Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
    if (Math.max(width, height) < 4 * scale()) return;
    put([Math.min(a[0], b[0]), Math.min(a[1], b[1]), width, height]);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (held = null));

  stage.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && box) {
      event.preventDefault();
      return use.click();
    }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way || !image.naturalWidth) return;
    event.preventDefault();
    const [across, down] = size();
    if (!box) return put([across / 4, down / 4, across / 2, down / 2]);
    const [dx, dy] = [way[0] * Math.max(1, Math.round(across / 100)), way[1] * Math.max(1, Math.round(down / 100))];
    const [x, y, width, height] = box;
    if (event.shiftKey) put([x, y, width + dx, height + dy]);
    else
      put([Math.min(Math.max(x + dx, 0), across - width), Math.min(Math.max(y + dy, 0), down - height), width, height]);
  });

  const resized = new ResizeObserver(show);
  resized.observe(image);
  image.addEventListener("load", () => {
    const [across, down] = size();
    const shape = across / down;
    stage.style.width = `min(100%, ${Math.max(down, LEAST) * shape}px, ${58 * shape}vh)`;
    show();
  });
  image.addEventListener("error", () =>
    stage.replaceWith(
      h("p", { class: "hint" }, "This browser cannot preview the picture; type the box’s numbers."),
    ),
  );
  show();
  dialog.returnValue = "";
  dialog.showModal();
  stage.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        resized.disconnect();
        resolve({ use: box, whole: null }[dialog.returnValue]);
      },
      { once: true },
    );
  });
}
