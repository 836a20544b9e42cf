// The dialog of one picture: beside the query, with its properties, its footage, its track, and the person it is joined
// with across cameras.

import * as api from "./api.js";
import { fill, h, keepingFocus } from "./dom.js";
import { cameraName, clockOf, given, labelName, likelihood, localTime, longTime, personName, score, several, timeSpan } from "./format.js";
import { nameOf } from "./results.js";
import { timeline } from "./timeline.js";

const ZOOMS = [1, 1.5, 2, 3, 4];

/**
 * The dialog.
 *
 * @param {HTMLDialogElement} dialog
 * @param {string[]} cameras in the gallery's order
 * @param {Object} selection the selection bar
 * @param {HTMLElement} barHome where the bar is while the dialog is closed
 * @param {{open: Function, close: Function, like: Function, whole: Function, add: Function, query: Function, renamed: Function}} actions
 */
export function viewer(dialog, cameras, selection, barHome, actions) {
  let shown = "";
  let leaving = null;
  let zoom = 0; // place in ZOOMS; kept from picture to picture
  let footage = ""; // what of the footage is shown: "", "frame" or "video"
  const body = h("div", { class: "body" });
  const foot = h("div", { class: "foot" });
  fill(dialog, body, foot);

  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    actions.close();
  });
  dialog.addEventListener("close", () => {
    barHome.append(selection.element);
    if (shown) actions.close(); // the browser closed it
  });
  dialog.addEventListener("click", (event) => event.target === dialog && actions.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=checkbox]), select, video")) return;
    if (["+", "=", "-"].includes(event.key) && !event.ctrlKey && !event.metaKey)
      return magnify(zoom + (event.key === "-" ? -1 : 1));
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const button = dialog.querySelector(event.key === "ArrowLeft" ? "[data-at=before]" : "[data-at=after]");
    if (button && !button.disabled) button.click();
  });

  /** Show a picture, with its neighbours if it is among the hits. */
  async function show(key, answer) {
    if (shown !== key) {
      body.scrollTop = 0;
      footage = "";
    }
    shown = key;
    leaving?.abort();
    leaving = new AbortController();
    const hits = answer?.hits ?? [];
    const at = hits.findIndex((hit) => hit.key === key);
    if (!dialog.open) {
      fill(body);
      foot.append(selection.element);
      dialog.showModal();
    }
    let picture;
    try {
      picture = hits[at] ?? (await api.picture(key));
    } catch (refusal) {
      if (shown === key)
        fill(body, head("No such picture", null, null), h("p", { class: "problem", role: "alert" }, refusal.message));
      return;
    }
    if (shown !== key) return;
    const rank = at < 0 || answer.ranked === false ? null : answer.offset + at + 1;
    const person = h("section", { class: "person", "aria-labelledby": "person-heading" });
    showPerson(person, picture);
    keepingFocus(body, () =>
      fill(
        body,
        head(rank ? `Rank ${rank}` : picture.identity ? personName(picture.identity, picture.name) : "Picture", hits[at - 1], hits[at + 1], at >= 0),
        h(
          "div",
          { class: "card" },
          beside(api.showLarge(h("img", { alt: `Picture of ${nameOf(picture, rank)}` }), key)),
          h("div", { class: "about" }, facts(picture, rank), doings(picture)),
        ),
        picture.footage && fromFootage(picture),
        person,
      ),
    );
    magnify(zoom);
    if (!dialog.contains(document.activeElement) || document.activeElement === dialog)
      dialog.querySelector("#viewer-heading").focus();
    if (!picture.identity && picture.label) await askForTrack(person, picture, leaving.signal);
    if (picture.identity && !api.rememberedPerson(picture.identity))
      await askForPerson(person, picture, leaving.signal);
  }

  function head(title, before, after, among) {
    const step = (words, at, hit) =>
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          disabled: !hit,
          data: { at },
          on: { click: () => hit && actions.open(hit.key, true) },
        },
        words,
      );
    return h(
      "header",
      {},
      h("h2", { id: "viewer-heading", tabindex: "-1", data: { at: "heading" } }, title),
      h(
        "div",
        { class: "pair" },
        sizeButton("Smaller", "smaller", "−", -1),
        sizeButton("Larger", "larger", "+", 1),
        among && [step("Previous", "before", before), step("Next", "after", after)],
        h("button", { type: "button", data: { at: "close" }, on: { click: actions.close } }, "Close"),
      ),
    );
  }

  /** Show the pictures larger or smaller, the query's and the candidate's alike. */
  function magnify(to) {
    zoom = Math.min(Math.max(to, 0), ZOOMS.length - 1);
    body.style.setProperty("--zoom", ZOOMS[zoom]);
    for (const [at, end] of [
      ["smaller", 0],
      ["larger", ZOOMS.length - 1],
    ]) {
      const button = dialog.querySelector(`[data-at=${at}]`);
      if (button) button.disabled = zoom === end;
    }
  }

  const sizeButton = (name, at, sign, by) =>
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": name, data: { at }, on: { click: () => magnify(zoom + by) } },
      sign,
    );

  /** The candidate, with the query beside it if it was searched for with pictures. */
  function beside(image) {
    const figure = (words, ...shownThere) =>
      h(
        "figure",
        {},
        h("div", { class: "frame", tabindex: "0", role: "group", "aria-label": words }, shownThere),
        h("figcaption", {}, words),
      );
    const asked = actions.query();
    return h(
      "div",
      { class: asked.length ? "beside" : "beside alone" },
      asked.length > 0 && figure(asked.length > 1 ? `Query: ${several(asked.length, "picture")}` : "Query", asked),
      figure(asked.length ? "Result" : "Picture", image),
    );
  }

  /** What was filmed: the frame with the box, and the video from there. */
  function fromFootage(picture) {
    const place = h("div", { class: "shown", role: "status" });
    const choose = (words, what) =>
      h(
        "button",
        { type: "button", data: { at: what }, "aria-expanded": "false", on: { click: () => show(what) } },
        words,
      );
    const buttons = [choose("Show the frame", "frame"), choose("Play the video from here", "video")];
    const make = { frame: framed, video: filmed };
    async function show(what) {
      footage = footage === what ? "" : what;
      for (const button of buttons) button.setAttribute("aria-expanded", String(button.dataset.at === footage));
      const wanted = footage;
      fill(place, wanted && h("p", { class: "hint" }, "Loading…"));
      if (!wanted) return;
      const content = await make[wanted](picture).catch((refusal) => problem(refusal.message));
      if (footage === wanted && place.isConnected) fill(place, content);
    }
    return h(
      "section",
      { class: "footage", "aria-label": "Footage" },
      h("div", { class: "actions" }, buttons),
      place,
    );
  }

  async function framed(picture) {
    const url = await api.frame(picture.key);
    const image = h("img", { src: url, alt: `Frame ${picture.frame} of ${given(picture.footage)}, the person in a box` });
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    return image;
  }

  async function filmed(picture) {
    const { video, second } = await api.moment(picture.key);
    if (!video) return problem("This footage is a folder of frames; there is no video to play.");
    const name = given(picture.footage.split("/").at(-1));
    const player = h("video", { controls: true, playsinline: true, preload: "metadata", "aria-label": `Video ${name}` });
    player.muted = true;
    player.addEventListener("loadedmetadata", () => (player.currentTime = second), { once: true });
    const says = `This browser cannot play ${name}. It is at ${given(picture.footage)}, the person at ${clock(second)}.`;
    player.addEventListener("error", () => player.replaceWith(problem(says)));
    player.src = video;
    return [player, h("p", { class: "hint" }, `${name}, from ${clock(second)}`)];
  }

  const problem = (words) => h("p", { class: "problem", role: "alert" }, words);
  const clock = (seconds) => {
    const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60];
    return parts.map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
  };

  function facts(picture, rank) {
    const rows = [
      picture.verdict && ["Same person", likelihood(picture)],
      rank && ["Score", score(picture.score)],
      ["Camera", cameraName(picture.camera)],
      picture.time && ["Taken", `${longTime(picture.time)} UTC`],
      picture.time && localTime(picture.time) && ["Your time", localTime(picture.time)],
      ["Person", picture.identity ? personName(picture.identity, picture.name) : "not joined"],
      [picture.footage ? "Track" : "Label", picture.label ? `${given(picture.label)} (of this camera)` : "none"],
      ["Source", given(picture.source)],
      picture.footage && ["Footage", `${given(picture.footage)}, frame ${picture.frame}`],
    ];
    return h(
      "dl",
      {},
      rows.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    );
  }

  function doings(picture) {
    const tick = selection.tick(picture, "this picture");
    return h(
      "div",
      { class: "actions" },
      h(
        "button",
        { type: "button", class: "primary", data: { at: "like" }, on: { click: () => actions.like(picture.key) } },
        "More like this",
      ),
      h(
        "button",
        {
          type: "button",
          hidden: !picture.footage || !picture.label,
          data: { at: "whole" },
          on: { click: () => actions.whole(picture.key) },
        },
        "Search with the whole track",
      ),
      h(
        "button",
        { type: "button", data: { at: "add" }, on: { click: () => actions.add(picture.key) } },
        "Add to the query",
      ),
      h("label", { class: "ticked" }, tick, " Select"),
    );
  }

  async function askForPerson(place, picture, signal) {
    try {
      await api.person(picture.identity, signal);
    } catch (refusal) {
      if (!signal.aborted) place.lastChild.replaceWith(h("p", { class: "problem", role: "alert" }, refusal.message));
      return;
    }
    if (!signal.aborted) showPerson(place, picture);
  }

  /** The pictures of a track that is not joined. */
  async function askForTrack(place, picture, signal) {
    const pictures = await api.track(picture.key, signal).catch(() => []); // the picture itself is shown
    if (signal.aborted || pictures.length < 2) return;
    selection.renew(pictures);
    place.append(list(pictures, picture.key, (key) => actions.open(key, true), "All pictures of the label"));
  }

  /** The person's timeline and list, if they have been loaded. */
  function showPerson(place, picture) {
    const heading = (words) => h("h3", { id: "person-heading" }, words);
    if (!picture.identity) {
      const why = picture.label
        ? "Its label is not joined with any other. Select this picture and others of the same person, then choose “Same person”."
        : "It has no label within its camera, so it cannot be joined.";
      fill(place, heading("Not joined"), h("p", { class: "hint" }, why));
      return;
    }
    const name = personName(picture.identity, picture.name);
    const pictures = api.rememberedPerson(picture.identity);
    if (!pictures) {
      fill(place, heading(`${name} across cameras`), h("p", { class: "hint", role: "status" }, "Loading…"));
      return;
    }
    selection.renew(pictures);
    const timed = pictures.filter((one) => one.time).sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
    const untimed = pictures.length - timed.length;
    const seen = new Set(pictures.map((one) => one.camera));
    const where = `${several(pictures.length, "picture")} in ${several(seen.size, "camera")}`;
    const says = [timed.length ? `${where}, ${timeSpan(timed[0].time, timed.at(-1).time)} UTC.` : `${where}.`];
    if (!timed.length) says.push("No times are known, so there is no timeline.");
    else if (untimed) says.push(`${several(untimed, "picture")} without a time: only in the list.`);
    const open = (key) => actions.open(key, true);
    fill(
      place,
      h("div", { class: "named" }, heading(`${name} across cameras`), naming(picture)),
      h("p", { class: "hint" }, says.join(" ")),
      timed.length > 0 && timeline(timed, cameras, picture.key, open),
      list(pictures, picture.key, open),
    );
  }

  /** A button that turns into a field for the person's name. */
  function naming(picture) {
    const place = h("div", { class: "naming" });
    const problem = h("p", { class: "problem", role: "alert" });
    const field = h("input", {
      type: "text", id: "person-name", maxlength: "200", autocomplete: "off", dir: "auto", value: picture.name, "aria-label": "Name of the person", placeholder: "Name",
    });
    const button = h(
      "button",
      { type: "button", class: "quiet", data: { at: "name" }, on: { click: () => (fill(place, form), field.focus(), field.select()) } },
      picture.name ? "Rename" : "Give a name",
    );
    const back = () => (fill(place, button), button.focus());
    const form = h(
      "form",
      {
        on: {
          submit: async (event) => {
            event.preventDefault();
            problem.textContent = "";
            try {
              await api.name(picture.identity, field.value);
            } catch (refusal) {
              problem.textContent = refusal.message;
              return;
            }
            back();
            actions.renamed();
          },
          keydown: (event) => {
            if (event.key !== "Escape") return;
            event.preventDefault(); // only the field closes
            event.stopPropagation();
            back();
          },
        },
      },
      field,
      h("button", { type: "submit", class: "primary" }, "Save"),
      h("button", { type: "button", on: { click: back } }, "Cancel"),
      problem,
    );
    fill(place, button);
    return place;
  }

  function list(pictures, current, open, heading = "All pictures, by camera and label") {
    const groups = Map.groupBy(pictures, labelName);
    return h(
      "details",
      { open: true },
      h("summary", {}, heading),
      [...groups].map(([name, own]) =>
        h(
          "section",
          { class: "lot" },
          h(
            "header",
            {},
            h("h4", {}, name),
            h(
              "button",
              {
                type: "button",
                class: "quiet",
                "aria-label": `Select all of ${name}`,
                on: { click: () => selection.set(own, true) },
              },
              "Select all",
            ),
          ),
          h(
            "ol",
            { class: "small", data: { grid: "" } },
            own.map((one) =>
              h(
                "li",
                { class: "tile" },
                selection.tick(one, nameOf(one)),
                h(
                  "button",
                  {
                    type: "button",
                    class: "open",
                    "aria-label": `Open ${nameOf(one)}`,
                    "aria-current": one.key === current ? "true" : null,
                    data: { at: `listed ${one.key}`, open: one.key },
                    on: { click: () => open(one.key) },
                  },
                  h("span", { class: "frame" }, api.showThumbnail(h("img", { alt: "" }), one.key)),
                  one.time && h("span", { class: "line faint" }, clockOf(new Date(one.time))),
                ),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function hide() {
    shown = "";
    leaving?.abort();
    dialog.close();
  }

  return { show, hide, isOpen: () => dialog.open };
}
