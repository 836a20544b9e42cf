// One person across cameras: one row per camera, time from left to right. Long pauses are cut out and labelled.

import { showThumbnail } from "./api.js";
import { fill, h, svg } from "./dom.js";
import { cameraName, clockOf, dateOf, duration, listed, longTime, several, shortDateOf, timeSpan } from "./format.js";

const WIDTH = 28; // of a thumbnail, and roughly the smallest distance between two
const ROW = 64;
const BREAK = 30; // of a cut in time
const LABEL = 76; // smallest distance between two times on the axis
const LONG = 1.5; // a pause is cut out if it is longer than this many times all shorter pauses together
const STEPS = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000,
  7776000, 31536000,
];

/**
 * Draw pictures along time. Pictures closer than a thumbnail's width form a stack, which opens its first one.
 *
 * @param {Object[]} pictures with times, sorted by time
 * @param {string[]} cameras in the gallery's order
 * @param {string} current key of the picture shown
 * @param {(key: string) => void} open
 * @returns {HTMLElement} redraws itself when its width changes
 */
export function timeline(pictures, cameras, current, open) {
  const seen = new Set(pictures.map((picture) => picture.camera));
  const rows = [...new Set([...cameras, ...seen])].filter((camera) => seen.has(camera));
  const times = pictures.map((picture) => Date.parse(picture.time));
  const when = timeSpan(pictures[0].time, pictures.at(-1).time);
  const says = `Timeline: ${several(pictures.length, "picture")} in ${listed(rows.map(cameraName))}, ${when}`;
  const track = h("div", { class: "track" });
  const place = h(
    "div",
    { class: "timeline", role: "group", "aria-label": says },
    h(
      "div",
      { class: "names", "aria-hidden": "true" },
      rows.map((camera) => h("span", { class: "cut", title: cameraName(camera) }, cameraName(camera))),
    ),
    track,
  );
  let drawn = 0;

  function draw() {
    const width = track.clientWidth;
    if (!width || width === drawn) return;
    drawn = width;
    const parts = partsOf(times, width);
    const across = (time) => {
      const { from, until, x, length } = parts.findLast((part) => part.from <= time);
      return x + (until > from ? ((time - from) / (until - from)) * (length - WIDTH) : (length - WIDTH) / 2);
    };
    const stacks = [];
    const latest = new Map(); // stack of a camera
    pictures.forEach((picture, n) => {
      const x = across(times[n]);
      const before = latest.get(picture.camera);
      if (before && x - before.x < WIDTH + 3) before.pictures.push(picture);
      else {
        const stack = { x, camera: picture.camera, pictures: [picture] };
        latest.set(picture.camera, stack);
        stacks.push(stack);
      }
    });
    const middle = ({ x, camera }) => `${(x + WIDTH / 2).toFixed(1)},${rows.indexOf(camera) * ROW + ROW / 2}`;
    const way = svg(
      "svg",
      { class: "way", width, height: rows.length * ROW, "aria-hidden": "true" },
      svg("polyline", { points: stacks.map(middle).join(" ") }),
    );
    const lanes = rows.map((camera) =>
      h(
        "li",
        { "aria-label": `Camera ${cameraName(camera)}` },
        h("ul", {}, stacks.filter((stack) => stack.camera === camera).map(mark)),
      ),
    );
    fill(
      track,
      way,
      parts.slice(1).map((part, n) => pause(part, parts[n], rows.length)),
      h("ul", { class: "lanes" }, lanes),
      axis(parts, across, width),
    );
  }

  function mark({ x, camera, pictures: own }) {
    const here = own.find((picture) => picture.key === current);
    const shown = here ?? own[0];
    const until = own.length > 1 ? ` to ${clockOf(new Date(own.at(-1).time))}, ${several(own.length, "picture")}` : "";
    const item = h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          "aria-label": `Open camera ${cameraName(camera)}, ${longTime(own[0].time)}${until}`,
          "aria-current": here ? "true" : null,
          data: { at: `stack ${own[0].key}` },
          on: { click: () => open(shown.key) },
        },
        showThumbnail(h("img", { alt: "" }), shown.key),
        own.length > 1 && h("span", { class: "stack" }, own.length),
      ),
    );
    item.style.left = `${x}px`;
    return item;
  }

  new ResizeObserver(draw).observe(track);
  return place;
}

/** The stretches of time to draw, in proportion to their lengths, without the long pauses between them. */
function partsOf(times, width) {
  const gaps = times.slice(1).map((time, n) => ({ after: n, length: time - times[n] }));
  let rest = times.at(-1) - times[0];
  const left = [];
  for (const gap of gaps.toSorted((a, b) => b.length - a.length)) {
    rest -= gap.length;
    if (gap.length <= LONG * rest || gap.length < 2000 || (left.length + 1) * (BREAK + 2 * WIDTH) > width / 2) break;
    left.push(gap.after);
  }
  const starts = [0, ...left.toSorted((a, b) => a - b).map((n) => n + 1)];
  const parts = starts.map((start, n) => ({ from: times[start], until: times[(starts[n + 1] ?? times.length) - 1] }));
  const whole = parts.reduce((sum, { from, until }) => sum + until - from, 0);
  const free = width - left.length * BREAK - parts.length * WIDTH;
  let x = 0;
  for (const part of parts) {
    part.x = x;
    part.length = WIDTH + free * (whole ? (part.until - part.from) / whole : 1 / parts.length);
    x += part.length + BREAK;
  }
  return parts;
}

function pause(part, before, rows) {
  const says = h("div", { class: "pause" }, h("span", {}, `${duration(part.from - before.until)} later`));
  says.style.left = `${part.x - BREAK}px`;
  says.style.width = `${BREAK}px`;
  says.style.height = `${rows * ROW}px`;
  return says;
}

function axis(parts, across, width) {
  const place = h("div", { class: "axis", "aria-hidden": "true" });
  const taken = [];
  const days = new Set(parts.flatMap(({ from, until }) => [dateOf(from), dateOf(until)])).size > 1;
  const put = (time, words) => {
    const x = across(time) + WIDTH / 2;
    if (
      x < 26
        ? taken.some((other) => other < LABEL)
        : taken.some((other) => Math.abs(other - x) < LABEL) || x > width - 26
    )
      return;
    taken.push(x);
    const label = h("span", {}, words);
    label.style.left = `${x}px`;
    if (x < 26) label.classList.add("first");
    place.append(label);
  };
  for (const { from } of parts) put(from, days ? `${shortDateOf(from)} ${clockOf(from).slice(0, 5)}` : clockOf(from));
  for (const { from, until, length } of parts) {
    const step = STEPS.find((seconds) => (until - from) / 1000 / seconds <= length / LABEL) ?? STEPS.at(-1);
    for (let at = Math.ceil(from / 1000 / step) * step; at * 1000 <= until; at += step) {
      put(
        at * 1000,
        at % 86400 === 0 || step >= 86400 ? shortDateOf(at * 1000) : clockOf(at * 1000).slice(0, step % 60 ? 8 : 5),
      );
    }
  }
  return place;
}
