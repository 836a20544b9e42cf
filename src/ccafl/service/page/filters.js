// The filters of a search. Each is one entry of the table: its value in the page's state and address, its control in
// the panel, and the form fields that the service takes. A new filter is a new entry.

import { h } from "./dom.js";
import { cameraName, count } from "./format.js";

/**
 * @typedef {Object} Control
 * @property {Node[]} nodes
 * @property {() => *} value
 * @property {(value: *) => void} show
 *
 * @typedef {Object} Filter
 * @property {string} name in the state and the address
 * @property {string} group the heading under which its control stands
 * @property {*} none the value that filters out nothing
 * @property {boolean} [byPicture] applies only to searches by picture
 * @property {(value: *) => string} write the value as text in the address
 * @property {(text: string) => *} read the inverse; undefined or an exception for invalid text
 * @property {(gallery: Object, changed: () => void) => Control} control
 * @property {(fields: FormData, value: *, state: Object) => void|Promise<void>} send adds the service's form fields
 * @property {(value: *) => string|null} [problem] why nothing can be searched with this value
 */

const TAKEN = "Taken, in UTC";

/** @type {Filter[]} */
export const FILTERS = [
  {
    name: "cameras", // the ticked ones
    group: "Cameras",
    none: null,
    write: JSON.stringify,
    read: (text) => {
      const cameras = JSON.parse(text);
      return Array.isArray(cameras) ? cameras.map(String) : undefined;
    },
    control: cameraList,
    send: (fields, cameras) => cameras.forEach((camera) => fields.append("camera", camera)),
    problem: (cameras) =>
      cameras.length ? null : "No camera is ticked. Tick those to search, under “Filters and order”.",
  },
  {
    name: "others", // leave out the cameras of the query's pictures
    group: "Cameras",
    none: false,
    byPicture: true,
    write: () => "1",
    read: (text) => text === "1",
    control: (gallery, changed) =>
      checkbox("others", "Other cameras only", "Leaves out the camera that took the query’s picture: choose it beside the picture, if it is not known.", changed),
    send: (fields) => fields.set("other_cameras", "true"), // the service says if it does not know which those are
  },
  time("since", "From"),
  time("until", "Until"),
];

/** The state of no filters. */
export const noFilters = () => Object.fromEntries(FILTERS.map(({ name, none }) => [name, none]));

/** The filters that a state sets and that apply to its search, by picture or in words. */
export const activeFilters = (state, inWords) =>
  FILTERS.filter(({ name, none, byPicture }) => state[name] !== none && !(byPicture && inWords));

/** Add the service's form fields. */
export async function sendFilters(fields, state, inWords) {
  for (const { name, send } of activeFilters(state, inWords)) await send(fields, state[name], state);
}

/** Write a state's filters into the parameters of an address. */
export function writeFilters(words, state) {
  for (const { name, none, write } of FILTERS) if (state[name] !== none) words.set(name, write(state[name]));
}

/** The filters in the parameters of an address, without invalid ones. */
export function readFilters(words) {
  const state = noFilters();
  for (const { name, read } of FILTERS) {
    if (!words.has(name)) continue;
    try {
      state[name] = read(words.get(name)) ?? state[name];
    } catch {
      // invalid: no filter
    }
  }
  return state;
}

/**
 * Put the controls of all filters before an element.
 *
 * @returns {{draft: () => Object, show: (state: Object, inWords: boolean) => void}} `draft` gives what they say
 */
export function filterControls(before, gallery, changed) {
  const possible = FILTERS.filter(({ group }) => group !== TAKEN || gallery.first); // no filter by times that do not exist
  const controls = possible.map((filter) => ({ ...filter, ...filter.control(gallery, changed) }));
  for (const control of controls) control.place = h("div", { class: "filter" }, control.nodes);
  for (const [group, own] of Map.groupBy(controls, (control) => control.group))
    before.before(
      h(
        "fieldset",
        {},
        h("legend", {}, group),
        own.map((control) => control.place),
      ),
    );
  return {
    draft: () => Object.fromEntries(controls.map((control) => [control.name, control.value()])),
    show: (state, inWords) => {
      for (const control of controls) {
        control.show(state[control.name]);
        control.place.hidden = Boolean(control.byPicture && inWords);
      }
    },
  };
}

function cameraList(gallery, changed) {
  let shown = null; // may name cameras that the gallery does not have
  const set = (cameras) => {
    shown = cameras;
    changed();
  };
  const tick = () => {
    const ticked = boxes.filter((box) => box.checked).map((box) => box.value);
    set(ticked.length === boxes.length ? null : ticked);
  };
  const boxes = gallery.cameras.map(({ name }, number) =>
    h("input", { type: "checkbox", value: name, id: `camera-${number}`, on: { change: tick } }),
  );
  const rows = gallery.cameras.map(({ name, pictures }, number) =>
    h(
      "li",
      {},
      h(
        "label",
        { for: boxes[number].id },
        boxes[number],
        h("span", { class: "name" }, cameraName(name)),
        h("span", { class: "number" }, count(pictures)),
      ),
    ),
  );
  const button = (words, cameras) =>
    h("button", { type: "button", class: "quiet", on: { click: () => set(cameras) } }, words);
  return {
    nodes: [
      h("div", { class: "pair" }, button("All", null), button("None", [])),
      h("ul", { class: "cameras" }, rows),
    ],
    value: () => shown,
    show: (cameras) => {
      shown = cameras;
      for (const box of boxes) box.checked = !cameras || cameras.includes(box.value);
    },
  };
}

function checkbox(name, words, hint, changed) {
  const box = h("input", { type: "checkbox", id: name, "aria-describedby": `${name}-hint`, on: { change: changed } });
  return {
    nodes: [h("label", { class: "switch" }, box, ` ${words}`), h("p", { id: `${name}-hint`, class: "hint" }, hint)],
    value: () => box.checked,
    show: (on) => (box.checked = on),
  };
}

/** A time in UTC, such as "2026-05-04T08:00:00". */
function time(name, words) {
  return {
    name,
    group: TAKEN,
    none: "",
    write: (value) => value,
    read: (text) => (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text) ? text : undefined),
    control: ({ first, last }, changed) => {
      const field = h("input", { type: "datetime-local", id: name, step: "1" });
      if (first) field.min = first.slice(0, 19);
      if (last) field.max = new Date(Date.parse(last) + 1000).toISOString().slice(0, 19);
      field.addEventListener("change", () => field.validity.badInput || changed());
      return {
        nodes: [h("div", { class: "time" }, h("label", { for: name }, words), field)],
        value: () => field.value,
        show: (value) => (field.value = value),
      };
    },
    send: (fields, value) => fields.set(name, `${value}Z`),
  };
}
