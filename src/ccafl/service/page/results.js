// The results of a search, in three views.

import { showThumbnail } from "./api.js";
import { fill, h, keepingFocus } from "./dom.js";
import { cameraName, longTime, personName, score, several, shortTime } from "./format.js";

/**
 * Draw an answer.
 *
 * @param {HTMLElement} place
 * @param {{hits: Object[], identities: Object[], offset: number}} answer of the service
 * @param {"ranked"|"cameras"|"persons"} view
 * @param {string[]} cameras in the gallery's order
 * @param {Object} selection the selection bar
 * @param {(key: string) => void} open shows a picture in the dialog
 */
export function showResults(place, answer, view, cameras, selection, open) {
  const ranks = new Map(answer.hits.map((hit, n) => [hit.key, answer.offset + n + 1]));
  const tiles = (hits) =>
    h(
      "ol",
      { class: "tiles", data: { grid: "" } },
      hits.map((hit) => tile(hit, ranks.get(hit.key), selection, open)),
    );
  const draw = {
    ranked: () => [tiles(answer.hits)],
    cameras: () => byCamera(answer.hits, cameras, tiles),
    persons: () => byPerson(answer, tiles, selection, open),
  }[view];
  keepingFocus(place, () => fill(place, draw()));
}

/** A picture's accessible name. */
export function nameOf(hit, rank) {
  const who = hit.identity ? personName(hit.identity) : "not joined";
  return `${rank ? `rank ${rank}, ` : ""}camera ${cameraName(hit.camera)}, ${longTime(hit.time)}, ${who}`;
}

function tile(hit, rank, selection, open) {
  const name = nameOf(hit, rank);
  const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  meter.firstChild.style.width = `${100 * Math.min(Math.max(hit.score, 0), 1)}%`;
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
        "aria-label": `Open ${name}, score ${score(hit.score)}`,
        on: { click: () => open(hit.key) },
      },
      h("span", { class: "frame" }, showThumbnail(h("img", { alt: "" }), hit.key)),
      meter,
      h("span", { class: "line" }, h("b", {}, rank), h("span", {}, score(hit.score))),
      h(
        "span",
        { class: "line" },
        h("span", { class: "cut", title: hit.camera ? cameraName(hit.camera) : null }, cameraName(hit.camera)),
        h("span", { class: "cut who" }, hit.identity ? personName(hit.identity) : "–"),
      ),
      h("span", { class: "line faint" }, shortTime(hit.time)),
    ),
  );
}

function group(kind, heading, says, buttons, list) {
  return h("section", { class: kind }, h("header", {}, h("h3", {}, heading), h("p", {}, says), buttons), list);
}

function byCamera(hits, cameras, tiles) {
  const found = Map.groupBy(hits, (hit) => hit.camera);
  const order = [
    ...cameras.filter((camera) => found.has(camera)),
    ...[...found.keys()].filter((camera) => !cameras.includes(camera)),
  ];
  return order.map((camera) => {
    const own = found.get(camera);
    return group(
      "group",
      cameraName(camera),
      `${several(own.length, "picture")} here, best ${score(own[0].score)}`,
      null,
      tiles(own),
    );
  });
}

function byPerson(answer, tiles, selection, open) {
  const hits = new Map(answer.hits.map((hit) => [hit.key, hit]));
  const groups = answer.identities.map(({ identity, score: best, keys }) => ({
    identity,
    best,
    own: keys.map((key) => hits.get(key)).filter(Boolean),
  }));
  const joined = groups.filter(({ identity }) => identity);
  const alone = groups.filter(({ identity }) => !identity).flatMap(({ own }) => own);
  const sections = joined.map(({ identity, best, own }) => {
    const name = personName(identity);
    const seen = new Set(own.map((hit) => hit.camera)).size;
    const where = seen > 1 ? `, ${several(seen, "camera")}` : "";
    const buttons = h(
      "div",
      { class: "pair" },
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Timeline of ${name}`,
          data: { at: `timeline ${identity}` },
          on: { click: () => open(own[0].key) },
        },
        "Timeline",
      ),
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Select all of ${name} here`,
          data: { at: `all ${identity}` },
          on: { click: () => selection.set(own, true) },
        },
        "Select all",
      ),
    );
    return group(
      "stackof",
      name,
      `${several(own.length, "picture")} here${where}, best ${score(best)}`,
      buttons,
      tiles(own),
    );
  });
  if (alone.length)
    sections.push(
      group(
        "stackof",
        "Not joined",
        `${several(alone.length, "picture")} here, not joined across cameras`,
        null,
        tiles(alone),
      ),
    );
  return [h("div", { class: "stacks" }, sections)];
}

/** Arrow keys move from picture to picture. */
export function arrowKeys(place) {
  place.addEventListener("keydown", (event) => {
    if (!event.target.matches("[data-open]") || !event.key.startsWith("Arrow")) return;
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
