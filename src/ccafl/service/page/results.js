// The results of a search, in four views.

import { showThumbnail } from "./api.js";
import { fill, h, keepingFocus, tabStops } from "./dom.js";
import { cameraName, given, labelName, likelihood, personName, several, shortTime } from "./format.js";

/**
 * Draw an answer.
 *
 * @param {HTMLElement} place
 * @param {{hits: Object[], groups: Object[], offset: number}} answer of the service
 * @param {"tracks"|"ranked"|"cameras"|"persons"} view
 * @param {string[]} cameras in the gallery's order
 * @param {Object} selection the selection bar
 * @param {(key: string) => void} open shows a picture in the dialog
 */
export function showResults(place, answer, view, cameras, selection, open) {
  const hits = new Map(answer.hits.map((hit) => [hit.key, hit]));
  const order = view === "ranked" || view === "tracks" ? answer.hits : answer.hits.toSorted((a, b) => b.score - a.score);
  const ranks = new Map(order.map((hit, n) => [hit.key, answer.offset + n + 1]));
  const groups = answer.groups.map((group) => ({ ...group, own: group.keys.map((key) => hits.get(key)) }));
  const sizes = view === "tracks" ? new Map(answer.groups.map((group) => [group.keys[0], group.pictures])) : new Map();
  const tiles = (own) =>
    h(
      "ol",
      { class: "tiles", data: { grid: "" } },
      own.map((hit) => tile(hit, ranks.get(hit.key), selection, open, sizes.get(hit.key))),
    );
  const draw = {
    tracks: () => [tiles(answer.hits)],
    ranked: () => [tiles(answer.hits)],
    cameras: () => byCamera(groups, cameras, tiles),
    persons: () => byPerson(groups, tiles, selection, open),
  }[view];
  const nobody = answer.nobody && h("p", { class: "nobody", role: "status" }, "Nobody known: even the best is unlikely.");
  keepingFocus(place, () => fill(place, nobody, draw()));
  tabStops(place);
}

/** A picture's accessible name. */
export function nameOf(hit, rank) {
  const who = hit.identity ? personName(hit.identity, hit.name) : "not joined";
  const parts = [rank && `rank ${rank}`, `camera ${cameraName(hit.camera)}`, shortTime(hit.time), who];
  return parts.filter(Boolean).join(", ");
}

function tile(hit, rank, selection, open, size) {
  const name = nameOf(hit, rank);
  const track = size && hit.label ? `, track ${given(hit.label)}, ${several(size, "picture")}` : "";
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  meter.firstChild.style.width = `${100 * Math.min(Math.max(hit.probability ?? hit.score, 0), 1)}%`;
  return h(
    "li",
    { class: "tile" },
    selection.tick(hit, name),
    h(
      "button",
      {
        type: "button",
        class: "open",
        data: { open: hit.key, at: `open ${hit.key}` },
        "aria-label": `Open ${name}${track}, ${hit.verdict ? "" : "score "}${likelihood(hit)}`,
        on: { click: () => open(hit.key) },
      },
      h(
        "span",
        { class: "frame" },
        showThumbnail(h("img", { alt: "" }), hit.key),
        size > 1 && h("span", { class: "stack" }, size),
      ),
      meter,
      h("span", { class: "line" }, h("b", {}, rank), h("span", { class: hit.verdict ? `badge ${hit.verdict}` : "" }, likelihood(hit))),
      h("span", { class: "whole" }, cameraName(hit.camera)),
      track && h("span", { class: "whole" }, `Track ${given(hit.label)}`),
      hit.identity && h("span", { class: "whole who" }, personName(hit.identity, hit.name)),
      hit.time && h("span", { class: "whole faint" }, shortTime(hit.time)),
    ),
  );
}

function group(kind, heading, says, buttons, list) {
  return h("section", { class: kind }, h("header", {}, h("h3", {}, heading), h("p", {}, says), buttons), list);
}

const countOf = ({ own, pictures }) =>
  `${own.length < pictures ? `best ${own.length} of ` : ""}${several(pictures, "picture")}, best ${likelihood(own[0])}`;

function byCamera(groups, cameras, tiles) {
  const place = ({ camera }) => cameras.indexOf(camera);
  return groups
    .toSorted((a, b) => place(a) - place(b))
    .map((one) => group("group", cameraName(one.camera), countOf(one), null, tiles(one.own)));
}

function byPerson(groups, tiles, selection, open) {
  const sections = groups.map((one) => {
    const { identity, label, own } = one;
    const name = identity ? personName(identity, own[0].name) : label ? labelName(one) : cameraName(one.camera);
    const at = own[0].key;
    const button = (words, about, click) =>
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": `${words} ${about}`, data: { at: `${words} ${at}` }, on: { click } },
        words,
      );
    const buttons = h(
      "div",
      { class: "pair" },
      button(identity ? "Timeline" : "Open", `of ${name}`, () => open(at)),
      button("Select all", `of ${name} here`, () => selection.set(own, true)),
    );
    return group("stackof", name, `${identity ? "" : "not joined, "}${countOf(one)}`, buttons, tiles(own));
  });
  return [h("div", { class: "stacks" }, sections)];
}

/** Arrow keys move from tile to tile, Space ticks one. */
export function arrowKeys(place) {
  place.addEventListener("focusin", ({ target }) => {
    if (target.matches("[data-open]") && target.closest("[data-grid]")) tabStops(place);
  });
  place.addEventListener("keydown", (event) => {
    if (!event.target.matches("[data-open]")) return;
    const box = event.target.parentElement.querySelector("input[data-select]");
    if (event.key === " " && box) {
      event.preventDefault();
      box.click();
    }
    if (!event.key.startsWith("Arrow")) return;
    const all = [...place.querySelectorAll("[data-open]")];
    const here = all.indexOf(event.target);
    let next;
    if (event.key === "ArrowRight") next = all[here + 1];
    else if (event.key === "ArrowLeft") next = all[here - 1];
    else next = nearestRow(all, event.target, event.key === "ArrowDown" ? 1 : -1);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

function nearestRow(all, from, way) {
  const { left, top } = from.getBoundingClientRect();
  const places = all
    .map((element) => ({ element, frame: element.getBoundingClientRect() }))
    .filter(({ frame }) => (frame.top - top) * way > 4);
  const row = way * Math.min(...places.map(({ frame }) => frame.top * way));
  const inRow = places.filter(({ frame }) => Math.abs(frame.top - row) < 4);
  return inRow.sort((a, b) => Math.abs(a.frame.left - left) - Math.abs(b.frame.left - left))[0]?.element;
}
