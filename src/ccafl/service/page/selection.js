// The selected pictures, and their corrections: the same person, or not.

import { downloadCorrections, merge, split } from "./api.js";
import { fill, h } from "./dom.js";
import { labelName, listed, personName, several } from "./format.js";

/**
 * The bar of selected pictures.
 *
 * @param {HTMLElement} bar
 * @param {() => void} corrected called after a correction was saved
 */
export function selectionBar(bar, corrected) {
  const selected = new Map(); // pictures by key
  let before = []; // the pictures of the last correction
  let last = null; // the box ticked last, for ranges
  const summary = h("p", { class: "summary", role: "status" });
  const hint = h("p", { class: "hint", id: "bar-hint" });
  const problem = h("p", { class: "problem", role: "alert" });
  const written = h("div", { class: "written", role: "status", tabindex: "-1" });
  const same = h(
    "button",
    { type: "button", class: "primary", "aria-describedby": "bar-hint", on: { click: () => correct(merge, "same") } },
    "Same person",
  );
  const different = h(
    "button",
    { type: "button", "aria-describedby": "bar-hint", on: { click: () => correct(split, "different") } },
    "Not this person",
  );
  const clear = h(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": "Clear the selection",
      on: { click: () => (set([...selected.values()], false), rest()) },
    },
    "Clear",
  );
  const choice = h(
    "div",
    { class: "choice" },
    h("div", {}, summary, hint),
    h("div", { class: "actions" }, same, different, clear),
  );
  fill(bar, written, problem, choice);

  const labels = () => [
    ...new Map([...selected.values()].map((one) => [JSON.stringify([one.camera, one.label]), labelName(one)])).values(),
  ];
  const identities = () => [...new Set([...selected.values()].map((picture) => picture.identity))];

  function show() {
    const pictures = [...selected.values()];
    bar.hidden = !pictures.length && !written.hasChildNodes();
    choice.hidden = !pictures.length;
    for (const box of document.querySelectorAll("input[data-select]")) box.checked = selected.has(box.dataset.select);
    if (!pictures.length) return;
    const persons = identities().filter(Boolean).map(personName);
    const joined = identities().includes("") ? [...persons, "not joined yet"] : persons;
    summary.textContent = `${several(pictures.length, "picture")} selected: ${listed(joined)}.`;
    const unlabelled = pictures.some((picture) => !picture.label);
    same.disabled = unlabelled || labels().length < 2;
    different.disabled = unlabelled || identities().length !== 1 || !identities()[0];
    const those = labels().length > 4 ? several(labels().length, "label") : listed(labels());
    const can = [];
    if (!same.disabled) can.push(`“Same person” joins ${those}.`);
    if (!different.disabled) can.push(`“Not this person” takes ${those} out of ${persons[0]}.`);
    hint.textContent = unlabelled
      ? "A picture without a label within its camera cannot be joined."
      : can.join(" ") || "Select pictures with two labels to join them, or pictures of one joined person to split them off.";
  }

  function set(pictures, on) {
    problem.textContent = "";
    for (const picture of pictures) {
      if (on) selected.set(picture.key, picture);
      else selected.delete(picture.key);
    }
    if (on) fill(written);
    show();
  }

  /** Return the focus to where it was before the bar. */
  function rest() {
    if (last?.isConnected) last.focus();
    else if (!bar.closest("dialog")) document.getElementById("results-heading").focus();
  }

  async function correct(write, kind) {
    const pictures = [...selected.values()];
    const [names, left, button] = [labels(), identities(), document.activeElement];
    problem.textContent = "";
    same.disabled = different.disabled = true;
    try {
      const { identity } = await write(pictures.map((picture) => picture.key));
      before = pictures;
      selected.clear();
      const now = personName(identity);
      tell(
        kind === "same"
          ? `Saved: ${listed(names)} are one person, now ${now}.`
          : `Saved: ${listed(names)} ${names.length > 1 ? "are" : "is"} not ${personName(left[0])}, now ${now}.`,
        kind === "same"
          ? "To undo this, select the pictures that do not belong and choose “Not this person”."
          : "To undo this, select them again, add a picture of the person and choose “Same person”.",
      );
      show();
      written.focus();
      corrected();
    } catch (error) {
      problem.textContent = `Nothing was saved: ${error.message}`;
      show();
      button.focus();
    }
  }

  function tell(what, undo) {
    const again = h(
      "button",
      { type: "button", class: "quiet", on: { click: () => set(before, true) } },
      "Select again",
    );
    const link = h(
      "a",
      { href: "api/corrections.csv", download: "corrections.csv", on: { click: download } },
      "corrections.csv",
    );
    const dismiss = h(
      "button",
      { type: "button", class: "quiet", on: { click: () => (fill(written), show(), rest()) } },
      "Dismiss",
    );
    fill(
      written,
      h("p", {}, h("strong", {}, what), " ", undo, " This applies to all pictures of a label."),
      h("div", { class: "actions" }, again, link, dismiss),
    );
  }

  const download = (event) => downloadCorrections(event).catch((refusal) => (problem.textContent = refusal.message));

  /** A checkbox that selects a picture; Shift-click selects all from the one clicked before. */
  function tick(picture, name) {
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Select ${name}`,
      data: { select: picture.key, at: `select ${picture.key}` },
    });
    box.checked = selected.has(picture.key);
    box.picture = picture;
    box.addEventListener("click", (event) => {
      const all = [...document.querySelectorAll("input[data-select]")].filter(
        (other) => other.closest("dialog") === box.closest("dialog"),
      );
      const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
      const range = event.shiftKey && from >= 0 ? all.slice(from, to + 1).map((other) => other.picture) : [picture];
      set(range, box.checked);
      last = box;
    });
    return h("span", { class: "tick" }, box);
  }

  /** Update selected pictures from an answer. */
  function renew(pictures) {
    const now = new Map(pictures.map((picture) => [picture.key, picture]));
    for (const key of selected.keys()) if (now.has(key)) selected.set(key, now.get(key));
    before = before.map((picture) => now.get(picture.key) ?? picture);
    show();
  }

  return { tick, set, renew, has: (key) => selected.has(key), element: bar };
}
