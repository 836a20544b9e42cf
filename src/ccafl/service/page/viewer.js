// The dialog of one picture: its properties, and the person it is joined with across cameras.

import * as api from "./api.js";
import { fill, h, keepingFocus } from "./dom.js";
import { cameraName, clockOf, given, labelName, longTime, personName, score, several, timeSpan } from "./format.js";
import { nameOf } from "./results.js";
import { timeline } from "./timeline.js";

/**
 * The dialog.
 *
 * @param {HTMLDialogElement} dialog
 * @param {string[]} cameras in the gallery's order
 * @param {Object} selection the selection bar
 * @param {HTMLElement} barHome where the bar is while the dialog is closed
 * @param {{open: Function, close: Function, like: Function, add: Function}} actions
 */
export function viewer(dialog, cameras, selection, barHome, actions) {
  let shown = "";
  let leaving = null;
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
    if (!["ArrowLeft", "ArrowRight"].includes(event.key) || event.target.matches("input:not([type=checkbox]), select"))
      return;
    const button = dialog.querySelector(event.key === "ArrowLeft" ? "[data-at=before]" : "[data-at=after]");
    if (button && !button.disabled) button.click();
  });

  /** Show a picture, with its neighbours if it is among the hits. */
  async function show(key, answer) {
    if (shown !== key) body.scrollTop = 0;
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
    const rank = at < 0 ? null : answer.offset + at + 1;
    const person = h("section", { class: "person", "aria-labelledby": "person-heading" });
    showPerson(person, picture);
    keepingFocus(body, () =>
      fill(
        body,
        head(rank ? `Rank ${rank}` : "Picture", hits[at - 1], hits[at + 1], at >= 0),
        h(
          "div",
          { class: "card" },
          h(
            "span",
            { class: "frame" },
            api.showThumbnail(h("img", { alt: `Picture of ${nameOf(picture, rank)}` }), key),
          ),
          h("div", { class: "about" }, facts(picture, rank), doings(picture)),
        ),
        person,
      ),
    );
    if (!dialog.contains(document.activeElement) || document.activeElement === dialog)
      dialog.querySelector("#viewer-heading").focus();
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
        among && [step("Previous", "before", before), step("Next", "after", after)],
        h("button", { type: "button", data: { at: "close" }, on: { click: actions.close } }, "Close"),
      ),
    );
  }

  function facts(picture, rank) {
    const rows = [
      rank && ["Score", score(picture.score)],
      ["Camera", cameraName(picture.camera)],
      ["Taken", picture.time ? `${longTime(picture.time)} UTC` : "time unknown"],
      ["Person", picture.identity ? personName(picture.identity) : "not joined"],
      ["Label", picture.label ? `${given(picture.label)} (of this camera)` : "none"],
      ["Source", given(picture.source)],
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
    const name = personName(picture.identity);
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
      heading(`${name} across cameras`),
      h("p", { class: "hint" }, says.join(" ")),
      timed.length > 0 && timeline(timed, cameras, picture.key, open),
      list(pictures, picture.key, open),
    );
  }

  function list(pictures, current, open) {
    const groups = Map.groupBy(pictures, labelName);
    return h(
      "details",
      { open: true },
      h("summary", {}, "All pictures, by camera and label"),
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
            { class: "small" },
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
                    data: { at: `listed ${one.key}` },
                    on: { click: () => open(one.key) },
                  },
                  h("span", { class: "frame" }, api.showThumbnail(h("img", { alt: "" }), one.key)),
                  h("span", { class: "line faint" }, one.time ? clockOf(new Date(one.time)) : "–"),
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
