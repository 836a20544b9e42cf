// What there is to look through without a query: people, and each camera's latest pictures; or all of one kind.

import * as api from "./api.js";
import { fill, h, keepingFocus, tabStops } from "./dom.js";
import { cameraName, clockOf, dateOf, given, labelName, longTime, personName, several, shortTime } from "./format.js";

const PEOPLE = 24; // on the start page at most
const STRIP = 24; // pictures of a camera there

/**
 * The start page: people to click, and a strip of pictures for each camera.
 *
 * @param {HTMLElement} place
 * @param {Object} gallery of the service
 * @param {{open: (key: string) => void, browse: (what: string) => void}} actions
 * @param {AbortSignal} signal
 */
export async function showStartPage(place, gallery, actions, signal) {
  if (!gallery.pictures) {
    const how = h("code", {}, "ccafl gallery add RUN PICTURES --db GALLERY");
    fill(place, h("p", { class: "notice calm" }, h("span", {}, "The gallery holds no pictures yet. Stop the service and add some: ", how)));
    return;
  }
  const people = h("section", { class: "shelf", "aria-labelledby": "people-heading" }, waiting("people"));
  const cameras = gallery.cameras.map((camera, number) => cameraStrip(camera, number, actions, signal));
  fill(
    place,
    people,
    h(
      "section",
      { class: "shelf", "aria-labelledby": "cameras-heading" },
      shelfHead("Cameras", "cameras-heading", several(gallery.pictures, "picture"), "All pictures", () => actions.browse("pictures")),
      cameras,
    ),
  );
  const found = await api.persons(PEOPLE, 0, signal);
  if (!found.total) return people.remove(); // no picture has a label
  const loose = found.total - found.joined;
  const says = [found.joined && several(found.joined, "person", "people"), loose && `${several(loose, "label")} not joined`];
  fill(
    people,
    shelfHead(
      "People",
      "people-heading",
      says.filter(Boolean).join(", "),
      found.total > PEOPLE && "All people",
      () => actions.browse("people"),
    ),
    peopleGrid(found.persons, actions.open),
  );
  if (found.total > PEOPLE) wholeRows(people.querySelector(".people"));
  tabStops(people);
}

/** Leave out the tiles of a row that they do not fill: two rows, or four where they are short. */
function wholeRows(grid) {
  const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const rows = Math.min(across > 4 ? 2 : 4, Math.floor(grid.childElementCount / across));
  for (const tile of [...grid.children].slice(Math.max(1, rows) * across)) tile.remove();
}

/**
 * All people or pictures, page by page.
 *
 * @param {HTMLElement} place
 * @param {string} what "people", "pictures", or "in:" and a camera
 * @param {{limit: number, offset: number}} page
 * @param {Object} selection the selection bar
 * @param {(key: string) => void} open
 * @param {AbortSignal} signal
 * @returns {Promise<{total: number, pictures: Object[]}>}
 */
export async function showAll(place, what, { limit, offset }, selection, open, signal) {
  if (what === "people") {
    const { persons, total } = await api.persons(limit, offset, signal);
    keepingFocus(place, () => fill(place, peopleGrid(persons, open)));
    tabStops(place);
    return { total, pictures: [] };
  }
  const camera = what.startsWith("in:") ? what.slice(3) : null;
  const { pictures, total } = await api.pictures(camera, limit, offset, signal);
  selection.renew(pictures);
  const days = Map.groupBy(pictures, ({ time }) => (time ? dateOf(new Date(time)) : "No time known"));
  keepingFocus(place, () =>
    fill(
      place,
      [...days].map(([day, own]) =>
        h(
          "section",
          { class: "day" },
          days.size > 1 || own[0].time ? h("h3", {}, day) : null,
          h("ol", { class: "tiles", data: { grid: "" } }, own.map((picture) => pictureTile(picture, selection, open, camera))),
        ),
      ),
    ),
  );
  tabStops(place);
  return { total, pictures };
}

function shelfHead(words, id, says, all, click) {
  return h(
    "header",
    {},
    h("h3", { id }, words),
    h("p", {}, says),
    all && h("button", { type: "button", class: "quiet", on: { click } }, all),
  );
}

function peopleGrid(persons, open) {
  return h("ul", { class: "people", data: { grid: "" } }, persons.map((person) => personTile(person, open)));
}

function personTile(person, open) {
  const { identity, name, cameras, keys, last } = person;
  const who = identity ? personName(identity, name) : labelName(person);
  const where = identity ? several(cameras.length, "camera") : "not joined yet";
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: "open", data: { open: keys[0], at: `person ${keys[0]}` }, on: { click: () => open(keys[0]) } },
      h("span", { class: "face" }, api.showThumbnail(h("img", { alt: "" }), keys[0])),
      h("span", { class: "who", title: who }, who),
      h("span", { class: "faint" }, where),
      last && h("span", { class: "faint" }, shortTime(last)),
    ),
  );
}

function cameraStrip({ name, pictures }, number, actions, signal) {
  const says = h("p", {}, several(pictures, "picture"));
  const strip = h("ol", { class: "strip", data: { grid: "" } }, waiting("strip"));
  const place = h(
    "section",
    { "aria-labelledby": `strip-${number}` },
    h(
      "header",
      {},
      h("h4", { id: `strip-${number}` }, cameraName(name)),
      says,
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": `Show all of ${cameraName(name)}`, on: { click: () => actions.browse(`in:${name}`) } },
        "Show all",
      ),
    ),
    strip,
  );
  const seen = new IntersectionObserver(
    async ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      seen.disconnect();
      try {
        const found = await api.pictures(name, STRIP, 0, signal);
        api.remember(found.pictures);
        fill(strip, found.pictures.map((picture) => stripTile(picture, actions.open)));
        const { time } = found.pictures[0] ?? {};
        if (time) says.textContent = `${several(pictures, "picture")}, the latest ${longTime(time)} UTC`;
        tabStops(place);
      } catch (refusal) {
        if (!signal.aborted) fill(strip, h("li", { class: "problem" }, refusal.message));
      }
    },
    { rootMargin: "300px" },
  );
  seen.observe(place);
  signal.addEventListener("abort", () => seen.disconnect(), { once: true });
  return place;
}

function stripTile(picture, open) {
  const { key, time, identity, name, label } = picture;
  const who = identity ? personName(identity, name) : label ? given(label) : "";
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: "open", data: { open: key, at: `strip ${key}` }, on: { click: () => open(key) } },
      h("span", { class: "frame" }, api.showThumbnail(h("img", { alt: who ? "" : "Picture" }), key)),
      h("span", { class: "who" }, who),
      time && h("span", { class: "faint" }, clockOf(new Date(time))),
    ),
  );
}

function pictureTile(picture, selection, open, camera) {
  const { key, time, identity, name, label } = picture;
  const unjoined = !label ? "No label" : camera === null ? labelName(picture) : given(label);
  const who = identity ? personName(identity, name) : unjoined;
  const where = camera === null && (identity || !label) ? cameraName(picture.camera) : "";
  return h(
    "li",
    { class: "tile" },
    selection.tick(picture, [who, where, longTime(time)].filter(Boolean).join(", ")),
    h(
      "button",
      { type: "button", class: "open", data: { open: key, at: `open ${key}` }, on: { click: () => open(key) } },
      h("span", { class: "frame" }, api.showThumbnail(h("img", { alt: "" }), key)),
      h("span", { class: "whole" }, who),
      where && h("span", { class: "whole" }, where),
      time && h("span", { class: "whole faint" }, clockOf(new Date(time))),
    ),
  );
}

const waiting = (kind) =>
  h(
    kind === "people" ? "div" : "li",
    { class: "waiting", "aria-hidden": "true" },
    Array.from({ length: 8 }, () => h("span", { class: "frame" })),
  );
