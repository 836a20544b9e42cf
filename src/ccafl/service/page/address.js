// The page's state in its address: after #, so that a person's description is never sent or logged as part of a URL.
// Pictures chosen on this computer are not in it; the history entry names them while the page is open.

import { noFilters, readFilters, writeFilters } from "./filters.js";

/**
 * The values of the filters (filters.js), and
 *
 * @typedef {Object} State
 * @property {"picture"|"words"} by
 * @property {{id: string, box: number[]|null, camera: string}[]} uploads pictures from this computer
 * @property {string[]} keys pictures from the gallery
 * @property {string[]} tracks pictures from the gallery, each for all of its track
 * @property {string} text
 * @property {"mean"|"max"} fusion
 * @property {boolean} rerank
 * @property {""|"tracks"|"ranked"|"cameras"|"persons"} view empty for the gallery's own: tracks, if it has any
 * @property {number} limit
 * @property {number} offset
 * @property {string} browse what is looked through without a query: "people", "pictures", or "in:" and a camera
 * @property {string} open the picture in the dialog
 */

export const LIMITS = [24, 48, 100];

/** @returns {State} */
export function blank() {
  return {
    by: "picture",
    uploads: [],
    keys: [],
    tracks: [],
    text: "",
    ...noFilters(),
    fusion: "mean",
    rerank: false,
    view: "",
    limit: LIMITS[0],
    offset: 0,
    browse: "",
    open: "",
  };
}

/** The state as a fragment, without what is unset. */
export function toFragment(state) {
  const words = new URLSearchParams();
  if (state.by === "words") words.set("by", "words");
  for (const key of state.keys) words.append("key", key);
  for (const key of state.tracks) words.append("track", key);
  if (state.text) words.set("text", state.text);
  writeFilters(words, state);
  if (state.fusion !== "mean") words.set("fusion", state.fusion);
  if (state.rerank) words.set("rerank", "1");
  if (state.view) words.set("view", state.view);
  if (state.limit !== LIMITS[0]) words.set("limit", String(state.limit));
  if (state.offset) words.set("offset", String(state.offset));
  if (state.browse) words.set("browse", state.browse);
  if (state.open) words.set("open", state.open);
  return words.size ? `#${words}` : "#";
}

/**
 * The state of an address; invalid parts are ignored.
 *
 * @param {string} fragment
 * @param {{id: string}[]} uploads of the history entry
 * @returns {State}
 */
export function fromFragment(fragment, uploads) {
  const words = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = { ...blank(), ...readFilters(words) };
  const one = (name, allowed) => (allowed.includes(words.get(name) ?? "") ? words.get(name) ?? "" : allowed[0]);
  state.by = one("by", ["picture", "words"]);
  state.uploads = uploads;
  state.keys = [...new Set(words.getAll("key"))];
  state.tracks = [...new Set(words.getAll("track"))];
  state.text = words.get("text") ?? "";
  state.fusion = one("fusion", ["mean", "max"]);
  state.rerank = words.get("rerank") === "1";
  state.view = one("view", ["", "tracks", "ranked", "cameras", "persons"]);
  state.limit = Number(one("limit", LIMITS.map(String)));
  state.offset = Math.max(0, Math.trunc(Number(words.get("offset")) || 0));
  state.browse = /^(people|pictures|in:.*)$/s.test(words.get("browse") ?? "") ? words.get("browse") : "";
  state.open = words.get("open") ?? "";
  return state;
}
