// The page: its state, its searches, and how results are shown.

import * as api from "./api.js";
import { blank, fromFragment, toFragment } from "./address.js";
import { showCorrections } from "./corrections.js";
import { byId, fill, h } from "./dom.js";
import { kept } from "./files.js";
import { activeFilters, noFilters, sendFilters } from "./filters.js";
import { cameraName, count, given, several } from "./format.js";
import { queryFigures, queryPanel } from "./query.js";
import { arrowKeys, showResults } from "./results.js";
import { review } from "./review.js";
import { selectionBar } from "./selection.js";
import { showAll, showStartPage } from "./start.js";
import { viewer } from "./viewer.js";

const RERANKED = 200; // pictures that a search with re-ranking orders
const NARROW = matchMedia("(max-width: 899px)");

let gallery = null;
let state = fromFragment(location.hash, history.state?.uploads ?? []);
let answer = null; // to the search shown
let looked = null; // the pictures shown without a search
let searched = ""; // what was searched for, see `asked`
let running = null;
let panel, selection, dialog, doubts;

api.whenTokenIsNeeded(askForToken);
start();

async function start() {
  byId("status").textContent = "Opening the gallery…";
  try {
    gallery = await api.gallery();
  } catch (refusal) {
    byId("status").textContent = "";
    say(refusal, start);
    return;
  }
  fill(byId("problem"));
  selection = selectionBar(byId("bar"), corrected);
  doubts = review(byId("review"), corrected);
  panel = queryPanel(gallery, change, home);
  const names = gallery.cameras.map((camera) => camera.name);
  dialog = viewer(byId("viewer"), names, selection, byId("bar-home"), {
    open,
    close: closePicture,
    like: (key) => find({ by: "picture", uploads: [], keys: [key], tracks: [] }),
    whole: (key) => find({ by: "picture", uploads: [], keys: [], tracks: [key] }),
    query: () => (noQuery() || inWords() ? [] : queryFigures(state)),
    add: (key) => find({ by: "picture", keys: [...new Set([...state.keys, key])] }),
    renamed: corrected,
  });
  const { pictures, identities, cameras, model } = gallery;
  byId("holds").textContent = `${several(pictures, "picture")}, ${several(cameras.length, "camera")}`;
  byId("figures").textContent =
    `${several(pictures, "picture")}, ${several(identities, "person")} joined or labelled, ` +
    `${several(cameras.length, "camera")}. Model ${given(model.name)} (${model.fingerprint.slice(0, 12)}), ${model.runtime}.`;
  byId("view-tracks").hidden = !gallery.tracks;
  byId("filters").open = !NARROW.matches;
  listen();
  apply();
}

function listen() {
  addEventListener("popstate", () => {
    for (const id of ["boxer", "corrections", "review"]) byId(id).close();
    state = fromFragment(location.hash, history.state?.uploads ?? []);
    apply();
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the fragment is the page's state
    goToResults();
  });
  byId("home").addEventListener("click", (event) => {
    event.preventDefault();
    home();
    goToResults();
  });
  byId("show-corrections").addEventListener("click", () => showCorrections(byId("corrections"), corrected));
  byId("show-review").addEventListener("click", () => doubts.open());
  for (const radio of document.querySelectorAll("[name=view]"))
    radio.addEventListener("change", () => navigate({ view: radio.value, offset: 0 }));
  byId("limit").addEventListener("change", () => navigate({ limit: Number(byId("limit").value), offset: 0 }));
  byId("previous-page").addEventListener("click", () => turn(-1));
  byId("next-page").addEventListener("click", () => turn(1));
  arrowKeys(byId("found"));
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || covered()) return;
    event.preventDefault();
    panel.add(files);
  });
  dropping();
}

const covered = () => document.querySelector("dialog[open]") !== null;

function dropping() {
  let inside = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const cover = (on) => (byId("drop-here").hidden = !on);
  addEventListener("dragenter", (event) => carries(event) && cover(++inside > 0));
  addEventListener("dragleave", (event) => carries(event) && cover(--inside > 0));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    inside = 0;
    cover(false);
    if (!carries(event)) return;
    event.preventDefault();
    if (!covered()) panel.add([...event.dataTransfer.files]);
  });
}

// --- Going from state to state ---------------------------------------------------------------------------------------

function navigate(patch, { replace = false } = {}) {
  const before = state;
  state = { ...state, ...patch };
  const opened = state.open !== "" && (replace ? history.state?.opened : before.open === "");
  const entry = { uploads: state.uploads, opened: Boolean(opened) };
  history[replace ? "replaceState" : "pushState"](entry, "", toFragment(state));
  apply();
}

/** Apply a change of the panel; `again` searches even if nothing changed. */
function change(patch, { again = false } = {}) {
  const next = { ...state, ...patch, browse: "", offset: 0 };
  const before = running;
  if (again && noQuery(next)) return say(missing(next));
  if (toFragment(next) !== toFragment(state) || next.uploads !== state.uploads) navigate({ ...patch, browse: "", offset: 0 });
  if (!again) return;
  if (running === before) run();
  if (NARROW.matches && !noQuery()) goToResults();
}

/** What a search lacks, and what to do about it. */
const missing = (next) =>
  inWords(next)
    ? "Nothing to search for yet: describe the person in a sentence, then search."
    : "Nothing to search for yet: choose, drop or paste a picture of the person, or open somebody below.";

/** Back to the start, without a query. */
function home() {
  change({ ...blank(), view: state.view, limit: state.limit });
}

/** Search from a picture, and go to the results. */
function find(patch) {
  dialog.hide();
  navigate({ ...patch, browse: "", offset: 0, open: "" });
  goToResults();
}

function turn(pages) {
  navigate({ offset: Math.max(0, state.offset + pages * state.limit) });
  goToResults();
}

function goToResults() {
  byId("results-heading").focus({ preventScroll: true });
  byId("results").scrollIntoView();
}

function open(key, replace = false) {
  navigate({ open: key }, { replace });
}

function closePicture() {
  if (history.state?.opened) history.back();
  else navigate({ open: "" }, { replace: true });
}

function apply() {
  panel.show(state);
  document.querySelector(`[name=view][value=${viewOf()}]`).checked = true;
  byId("limit").value = String(state.limit);
  if (asked() !== searched) run();
  showPicture();
}

function showPicture() {
  const before = dialog.isOpen();
  if (state.open) dialog.show(state.open, answer ?? looked);
  else if (before) {
    const key = byId("viewer").dataset.key;
    dialog.hide();
    [...document.querySelectorAll("[data-open]")].find((tile) => tile.dataset.open === key)?.focus();
  }
  if (state.open) byId("viewer").dataset.key = state.open;
}

// --- Searching -------------------------------------------------------------------------------------------------------

const inWords = (own = state) => own.by === "words" && gallery.text;
const noQuery = (own = state) =>
  inWords(own) ? !own.text : !own.uploads.length && !own.keys.length && !own.tracks.length;

/** The view chosen; the gallery's own is that of tracks, if it has any. */
const viewOf = () => state.view || (gallery.tracks ? "tracks" : "ranked");
const GROUPS = { tracks: ["track", 1], cameras: ["camera", 12], persons: ["person", 12] }; // and pictures of each

/** Everything that a search's answer depends on. */
function asked() {
  const { open: opened, uploads, ...rest } = state;
  const pictures = uploads.map(({ known, ...upload }) => upload);
  return noQuery() ? `no query ${state.browse} ${state.limit} ${state.offset}` : JSON.stringify({ ...rest, uploads: pictures, view: viewOf() });
}

async function form() {
  const fields = new FormData();
  if (inWords()) fields.set("text", state.text);
  else {
    const boxed = state.uploads.some((upload) => upload.box);
    for (const { id, box } of state.uploads) {
      const { file } = kept(id);
      fields.append("picture", file, file.name);
      if (boxed) fields.append("box", box ? box.join(",") : "");
    }
    if (state.uploads.some((upload) => upload.camera))
      for (const { camera } of state.uploads) fields.append("taken_by", camera);
    for (const key of state.keys) fields.append("key", key);
    for (const key of state.tracks) fields.append("track", key);
    if (state.uploads.length + state.keys.length + 2 * state.tracks.length > 1) fields.set("fusion", state.fusion);
    if (state.rerank && gallery.rerank) fields.set("rerank", "true");
  }
  await sendFilters(fields, state, inWords());
  const [group, each] = GROUPS[viewOf()] ?? [];
  if (group) {
    fields.set("group", group);
    fields.set("each", String(each));
  }
  fields.set("limit", String(state.limit));
  fields.set("offset", String(state.offset));
  return fields;
}

/** Search by the state; `quietly` keeps the old results until the answer arrives. */
async function run({ quietly = false } = {}) {
  running?.abort();
  searched = asked();
  fill(byId("problem"));
  document.body.classList.toggle("looking", noQuery());
  document.body.classList.toggle("starting", noQuery() && !state.browse);
  if (noQuery()) return look({ quietly });
  for (const { name, problem } of activeFilters(state, inWords())) {
    const why = problem?.(state[name]);
    if (why) return say(why);
  }
  const control = (running = new AbortController());
  busy(true, quietly);
  try {
    const found = await api.search(await form(), control.signal);
    if (control.signal.aborted) return;
    answer = found;
    looked = null;
    byId("found").style.minHeight = "";
    api.remember(found.hits);
    state.uploads.forEach((upload, n) => upload.camera || (upload.known = found.taken_by[n])); // by the same file
    panel.show(state);
    selection.renew(found.hits);
    showAnswer();
    if (state.open) dialog.show(state.open, answer);
  } catch (refusal) {
    if (control.signal.aborted) return;
    say(refusal, () => run());
  } finally {
    if (!control.signal.aborted) busy(false);
  }
}

/** Identities have changed: ask again for what is shown. */
async function corrected() {
  api.forget();
  await run({ quietly: true });
  if (state.open && noQuery()) dialog.show(state.open, answer ?? looked);
}

function busy(on, quietly = false) {
  byId("results").setAttribute("aria-busy", String(on));
  byId("progress").hidden = !on;
  if (!on || quietly) return;
  byId("results-heading").textContent = "Results";
  byId("status").textContent = "Searching…";
  if (!answer)
    fill(
      byId("found"),
      h(
        "ol",
        { class: "tiles", "aria-hidden": "true" },
        Array.from({ length: 12 }, () => h("li", { class: "tile waiting" }, h("span", { class: "frame" }))),
      ),
    );
}

/**
 * Show a problem; the query stays as it is. What is shown stays too where the service was lost or is busy, or where
 * nothing was searched for; a query that is refused has no results.
 *
 * @param {string|api.Refusal} problem
 * @param {() => void} [again]
 */
function say(problem, again) {
  const lacks = typeof problem === "string" && noQuery(); // no search is tried, and what is below may still be loading
  if (!lacks) running?.abort();
  const passes = lacks || [0, 429, 503].includes(problem.status);
  const stays = passes && (answer !== null || looked !== null || noQuery()) && byId("found").hasChildNodes();
  byId("progress").hidden = true;
  byId("results").setAttribute("aria-busy", "false");
  if (!stays) {
    answer = looked = null;
    byId("results-heading").textContent = "Results";
    byId("status").textContent = "";
    byId("results-tools").hidden = byId("pages").hidden = true;
    fill(byId("found"));
  } else if (answer) byId("status").textContent = "From the search before.";
  fill(
    byId("problem"),
    h(
      "div",
      { class: "notice" },
      h("p", {}, named(problem.message ?? problem)),
      again && h("button", { type: "button", on: { click: again } }, "Try again"),
    ),
  );
  const { top, bottom } = byId("problem").getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) byId("problem").scrollIntoView({ block: "nearest" });
}

/** A message of the service about "picture 2", with the name of its file. */
function named(message) {
  return message.replace(/^picture (\d+)/, (words, number) => {
    const file = kept(state.uploads[number - 1]?.id)?.file;
    return file ? `${words}, ${given(file.name)}` : words;
  });
}

function showAnswer() {
  const { hits, more, offset } = answer;
  const groups = answer.groups.length ? answer.groups : hits;
  const last = offset + groups.length;
  const deeper = more && !(state.rerank && !inWords() && offset + 2 * state.limit > RERANKED);
  fill(byId("problem"));
  byId("results-heading").textContent = "Results";
  byId("results-tools").hidden = !hits.length;
  byId("views").hidden = false;
  byId("pages").hidden = !deeper && !offset;
  byId("previous-page").disabled = !offset;
  byId("next-page").disabled = !deeper;
  byId("page-says").textContent = hits.length ? `${count(offset + 1)} to ${count(last)}` : "";
  if (!hits.length) return showNothing(offset);
  const measure = inWords()
    ? "similarity to the description"
    : state.rerank
      ? "1 minus the re-ranked distance"
      : answer.hits.some((hit) => hit.verdict)
        ? "estimated probability of being the same person"
        : `cosine, at most 1${gallery.model.mistakes_strangers ? "; the model knows these cameras too little for probabilities" : ""}`;
  const what = { tracks: "Tracks", cameras: "Cameras", persons: "Persons" }[viewOf()] ?? "Pictures";
  byId("status").textContent = `${what} ${count(offset + 1)} to ${count(last)}, best first. Score: ${measure}.`;
  showResults(
    byId("found"),
    answer,
    viewOf(),
    gallery.cameras.map((camera) => camera.name),
    selection,
    open,
  );
}

function showNothing(offset) {
  byId("status").textContent = offset ? "There are no more pictures." : "No pictures found.";
  const filtered = activeFilters(state, inWords()).length > 0;
  const says = offset
    ? "This page is beyond the last one."
    : filtered
      ? "No picture matches the filters."
      : "The gallery is empty.";
  const remedy = offset
    ? ["First page", { offset: 0 }]
    : filtered
      ? ["Clear the filters", { ...noFilters(), offset: 0 }]
      : null;
  fill(
    byId("found"),
    h(
      "div",
      { class: "notice calm" },
      h("p", {}, says),
      remedy && h("button", { type: "button", on: { click: () => navigate(remedy[1]) } }, remedy[0]),
    ),
  );
}

/** Without a query: the start page, or all people or pictures. */
async function look({ quietly = false } = {}) {
  const control = (running = new AbortController());
  const [place, { browse }] = [byId("found"), state];
  answer = null;
  place.style.minHeight = quietly ? `${place.offsetHeight}px` : ""; // so that nothing jumps while it is drawn anew
  if (!quietly) {
    looked = null;
    fill(place);
  }
  byId("results-heading").textContent = !browse
    ? "Look through the gallery"
    : browse === "people"
      ? "People"
      : browse === "pictures"
        ? "All pictures"
        : cameraName(browse.slice(3));
  byId("status").textContent = "";
  byId("results-tools").hidden = !browse;
  byId("views").hidden = true;
  byId("pages").hidden = true;
  byId("results").setAttribute("aria-busy", "true");
  try {
    if (browse) await lookAtAll(place, control.signal);
    else await showStartPage(place, gallery, { open, browse: (what) => (navigate({ browse: what, offset: 0 }), goToResults()) }, control.signal);
  } catch (refusal) {
    if (!control.signal.aborted) say(refusal, () => run());
  }
  if (control.signal.aborted) return;
  byId("results").setAttribute("aria-busy", "false");
  byId("progress").hidden = true;
  showPicture();
}

async function lookAtAll(place, signal) {
  const { total, pictures } = await showAll(place, state.browse, state, selection, open, signal);
  looked = { hits: pictures, offset: state.offset, ranked: false };
  api.remember(pictures);
  const last = Math.min(total, state.offset + state.limit);
  const order = state.browse === "people" ? "most cameras first, then the latest" : "the latest first";
  byId("status").textContent = `${state.browse === "people" ? count(total) : several(total, "picture")}, ${order}`;
  byId("pages").hidden = last >= total && !state.offset;
  byId("previous-page").disabled = !state.offset;
  byId("next-page").disabled = last >= total;
  byId("page-says").textContent = `${count(Math.min(total, state.offset + 1))} to ${count(last)}`;
}

// --- The token -------------------------------------------------------------------------------------------------------

function askForToken(wrong) {
  const door = byId("door");
  byId("door-says").textContent = wrong ? "The service does not accept this token." : "";
  byId("token").value = "";
  door.returnValue = "";
  door.showModal();
  byId("token").focus();
  return new Promise((resolve) => {
    door.addEventListener("close", () => resolve(door.returnValue === "open" ? byId("token").value.trim() : null), {
      once: true,
    });
  });
}
