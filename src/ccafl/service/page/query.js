// The query panel: whom to search for, and where.

import { picture, remembered, showLarge, showThumbnail } from "./api.js";
import { drawBox } from "./boxer.js";
import { byId, fill, h, keepingFocus } from "./dom.js";
import { keep, kept } from "./files.js";
import { activeFilters, filterControls } from "./filters.js";
import { cameraName, given, labelName, longTime, several } from "./format.js";

/**
 * Set up the panel.
 *
 * @param {Object} gallery the service's answer
 * @param {(patch: Object) => void} change receives what changes in the state
 * @param {() => void} clear empties the query
 * @returns {{show: (state: Object) => void, add: (files: Iterable<File>) => void, draft: () => Object}}
 */
export function queryPanel(gallery, change, clear) {
  let state = null;
  let drawn = ""; // the tiles shown
  const { limits, cameras, model } = gallery;
  const filters = filterControls(byId("rerank-row"), gallery, () => change(draft()));
  byId("files-hint").textContent =
    limits.pictures > 1
      ? `or drop or paste them here: up to ${limits.pictures}, ${limits.upload_mb} MB together.`
      : `or drop or paste one here: up to ${limits.upload_mb} MB.`;
  byId("by").hidden = !gallery.text;
  byId("rerank-row").hidden = !gallery.rerank;
  byId("rerank").addEventListener("change", () => change(draft()));
  for (const radio of document.querySelectorAll("[name=by], [name=fusion]"))
    radio.addEventListener("change", () => change(draft()));
  byId("clear").addEventListener("click", clear);
  byId("query").addEventListener("submit", (event) => {
    event.preventDefault();
    change(draft(), { again: true });
  });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("query").requestSubmit();
  });
  byId("files").addEventListener("change", () => {
    add([...byId("files").files]);
    byId("files").value = "";
  });

  /** What the fields hold, even if it has not been searched for yet. */
  function draft() {
    return {
      by: gallery.text ? document.querySelector("[name=by]:checked").value : "picture",
      text: byId("text").value.replace(/\s+/g, " ").trim(),
      fusion: document.querySelector("[name=fusion]:checked").value,
      rerank: byId("rerank").checked,
      ...filters.draft(),
    };
  }

  function add(files) {
    const problems = [];
    const free = limits.pictures - state.uploads.length - state.keys.length - state.tracks.length;
    let bytes = state.uploads.reduce((sum, upload) => sum + kept(upload.id).file.size, 0);
    const good = files.filter((file) => {
      const fits = bytes + file.size <= limits.upload_mb * 1e6;
      if (fits) bytes += file.size;
      else
        problems.push(
          `${given(file.name)}: ${(file.size / 1e6).toFixed(1)} MB is too large; a query may have up to ${limits.upload_mb} MB.`,
        );
      return fits;
    });
    if (good.length > free)
      problems.push(
        `A query may have up to ${several(limits.pictures, "picture")}; ${several(good.length - free, "was", "were")} left out.`,
      );
    const ids = keep(good.slice(0, Math.max(0, free)));
    if (ids.length)
      change({
        ...draft(),
        by: "picture",
        uploads: [...state.uploads, ...ids.map((id) => ({ id, box: null, camera: "" }))],
      });
    byId("asked-problem").textContent = problems.join(" ");
  }

  function without(id) {
    byId("asked-problem").textContent = "";
    change({
      ...draft(),
      uploads: state.uploads.filter((upload) => upload.id !== id),
      keys: state.keys.filter((key) => key !== id),
      tracks: state.tracks.filter((key) => `track ${key}` !== id),
    });
    (byId("asked").querySelector("[data-at^=remove]") ?? byId("files")).focus();
  }

  const changed = (id, patch) =>
    change({
      ...draft(),
      uploads: state.uploads.map((upload) => (upload.id === id ? { ...upload, ...patch } : upload)),
    });

  function uploadTile(upload, number) {
    const { file, url } = kept(upload.id);
    const name = `picture ${number + 1}, ${given(file.name)}`;
    const image = h("img", { src: url, alt: "" });
    const frame = h("span", { class: "frame" }, image);
    image.addEventListener("error", () => frame.replaceWith(h("span", { class: "frame none" }, "no preview")));
    if (upload.box) image.addEventListener("load", () => frame.append(boxMark(upload.box, image)));
    const draw = async () => {
      const box = await drawBox(url, given(file.name), upload.box);
      if (box !== undefined) changed(upload.id, { box });
    };
    return h(
      "li",
      {},
      frame,
      h(
        "div",
        {},
        h("p", { class: "name" }, given(file.name)),
        h(
          "p",
          { class: "hint" },
          upload.box
            ? `Box ${upload.box[2]} × ${upload.box[3]} at ${upload.box[0]}, ${upload.box[1]}`
            : "Whole picture",
        ),
        upload.known
          ? h("p", { class: "hint" }, `Taken by ${cameraName(upload.known)}`)
          : (state.others || model.takes_cameras) && cameraOf(upload, name),
        h(
          "div",
          { class: "pair" },
          button(upload.box ? "Change the box" : "Draw a box", name, `box ${upload.id}`, draw),
          button("Remove", name, `remove ${upload.id}`, () => without(upload.id)),
        ),
      ),
    );
  }

  function cameraOf(upload, name) {
    const options = cameras.map(({ name: camera }) =>
      h("option", { value: camera, selected: camera === upload.camera && camera !== "" }, cameraName(camera)),
    );
    const choose = h(
      "select",
      {
        "aria-label": `Camera that took ${name}`,
        title: model.takes_cameras ? "The model finds more if it knows the camera" : null,
        data: { at: `camera ${upload.id}` },
      },
      h("option", { value: "" }, "camera unknown"),
      options,
    );
    choose.addEventListener("change", () => changed(upload.id, { camera: choose.value }));
    return choose;
  }

  function keyTile(key, number, whole = false) {
    const says = h("p", { class: "name" }, "Picture from the gallery");
    const facts = h("p", { class: "hint" });
    const tell = (known) => {
      says.textContent = known.label ? labelName(known) : cameraName(known.camera);
      facts.textContent = whole ? "The whole track" : longTime(known.time);
    };
    if (remembered(key)) tell(remembered(key));
    else picture(key).then(tell, (refusal) => (facts.textContent = refusal.message));
    return h(
      "li",
      {},
      h("span", { class: "frame" }, showThumbnail(h("img", { alt: "" }), key)),
      h(
        "div",
        {},
        says,
        facts,
        h(
          "div",
          { class: "pair" },
          button("Remove", `picture ${number + 1}, from the gallery`, `remove ${key}`, () =>
            without(whole ? `track ${key}` : key),
          ),
        ),
      ),
    );
  }

  function show(now) {
    if (state && state.uploads !== now.uploads) byId("asked-problem").textContent = "";
    state = now;
    const gone = state.uploads.filter((upload) => !kept(upload.id)).length;
    if (gone)
      byId("asked-problem").textContent =
        `The page was reloaded: choose the ${gone > 1 ? `${gone} pictures` : "picture"} from your computer again.`;
    state.uploads = state.uploads.filter((upload) => kept(upload.id));
    const tiles = JSON.stringify([state.uploads, state.keys, state.tracks, state.others]);
    if (tiles !== drawn) {
      drawn = tiles;
      keepingFocus(byId("asked"), () =>
        fill(
          byId("asked"),
          state.uploads.map(uploadTile),
          state.keys.map((key, number) => keyTile(key, state.uploads.length + number)),
          state.tracks.map((key, number) => keyTile(key, state.uploads.length + state.keys.length + number, true)),
        ),
      );
    }
    byId("asked").hidden = !byId("asked").childElementCount;
    const words = state.by === "words" && gallery.text;
    byId("by-picture").hidden = words;
    byId("by-words").hidden = !words;
    document.querySelector(`[name=by][value=${words ? "words" : "picture"}]`).checked = true;
    if (document.activeElement !== byId("text")) byId("text").value = state.text;
    byId("fusion").hidden = state.uploads.length + state.keys.length + 2 * state.tracks.length < 2;
    document.querySelector(`[name=fusion][value=${state.fusion}]`).checked = true;
    filters.show(state, words);
    byId("rerank").checked = state.rerank;
    byId("rerank-row").hidden = !gallery.rerank || words;
    const set = activeFilters(state, words).length + (state.rerank && !words ? 1 : 0);
    byId("filters-count").textContent = set ? `${set} set` : "";
  }

  return { show, add, draft };
}

const button = (words, about, at, click) =>
  h(
    "button",
    { type: "button", class: "quiet", "aria-label": `${words}: ${about}`, data: { at }, on: { click } },
    words,
  );

function boxMark([x, y, width, height], image) {
  const mark = h("span", { class: "mark" });
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  mark.style.left = percent(x, image.naturalWidth);
  mark.style.top = percent(y, image.naturalHeight);
  mark.style.width = percent(width, image.naturalWidth);
  mark.style.height = percent(height, image.naturalHeight);
  return mark;
}

/** The query's pictures as figures, large, to be compared with a result. */
export function queryFigures(state) {
  const uploads = state.uploads
    .filter(({ id }) => kept(id))
    .map(({ id, box }) => {
      const { file, url } = kept(id);
      const image = h("img", { src: url, alt: `The query: ${given(file.name)}` });
      if (box) image.addEventListener("load", () => image.replaceWith(cut(image, box)), { once: true });
      return image;
    });
  const keys = [...state.keys, ...state.tracks];
  return [...uploads, ...keys.map((key) => showLarge(h("img", { alt: "The query: a picture from the gallery" }), key))];
}

/** The part of an image within a box. */
function cut(image, [x, y, width, height]) {
  const part = h("canvas", { width, height, role: "img", "aria-label": image.alt });
  part.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
  return part;
}
