// The selected pictures, and their corrections: the same person, or not.

import { downloadCorrections, merge, person, rememberedPerson, showThumbnail, split, undo } from "./api.js";
import { fill, h } from "./dom.js";
import { labelName, listed, personName, several } from "./format.js";

const MOST_SHOWN = 12; // pictures in the bar

/**
 * The bar of selected pictures.
 *
 * @param {HTMLElement} bar
 * @param {() => void} corrected called after a correction was saved
 */
export function selectionBar(bar, corrected) {
  const selected = new Map(); // pictures by key
  let last = null; // the box ticked last, for ranges
  const shown = h("ul", { class: "chosen", "aria-hidden": "true" });
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
    shown,
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
    fill(
      shown,
      pictures.slice(0, MOST_SHOWN).map(({ key }) => h("li", {}, showThumbnail(h("img", { alt: "" }), key))),
      pictures.length > MOST_SHOWN && h("li", {}, `+${pictures.length - MOST_SHOWN}`),
    );
    const names = new Map(pictures.map((one) => [one.identity, one.identity && personName(one.identity, one.name)]));
    const persons = [...names.values()].filter(Boolean);
    const joined = identities().includes("") ? [...persons, "not joined yet"] : persons;
    summary.textContent = `${several(pictures.length, "picture")} selected: ${listed(joined)}.`;
    const unlabelled = pictures.some((picture) => !picture.label);
    same.disabled = unlabelled || labels().length < 2;
    const one = identities().length === 1 ? identities()[0] : "";
    const left = one && !unlabelled ? leftBehind(one) : 0;
    different.disabled = !left;
    const those = labels().length > 4 ? several(labels().length, "label") : listed(labels());
    const can = [];
    if (!same.disabled)
      can.push(one ? `“Same person” confirms that ${those} are one.` : `“Same person” joins ${those}.`);
    if (!different.disabled) can.push(`“Not this person” takes ${those} out of ${persons[0]}.`);
    if (one && left === 0 && !unlabelled) can.push(`These are all labels of ${persons[0]}: to take some out, leave out those that do show the person.`);
    hint.textContent = unlabelled
      ? "A picture without a label within its camera cannot be joined."
      : can.join(" ") || "Select pictures with two labels to join them, or pictures of one joined person to split them off.";
  }

  /** How many pictures of a person are of labels that are not selected; undefined until it is known. */
  function leftBehind(identity) {
    const all = rememberedPerson(identity);
    if (!all) {
      person(identity).then(show, () => {});
      return undefined;
    }
    const labelsHere = new Set([...selected.values()].map(labelName));
    return all.filter((picture) => !labelsHere.has(labelName(picture))).length;
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
    const tile = last?.closest("li")?.querySelector("[data-open]");
    const place = last?.isConnected ? tile ?? last : bar.closest("dialog") ? null : document.getElementById("results-heading");
    place?.focus({ preventScroll: true });
  }

  async function correct(write, kind) {
    const pictures = [...selected.values()];
    const [names, button] = [labels(), document.activeElement];
    const left = personName(pictures[0].identity, pictures[0].name);
    problem.textContent = "";
    same.disabled = different.disabled = true;
    try {
      const { identity, change } = await write(pictures.map((picture) => picture.key));
      selected.clear();
      const name = pictures.find((picture) => picture.identity === identity)?.name;
      const now = personName(identity, name);
      tell(
        kind === "same"
          ? `Saved: ${listed(names)} are one person, now ${now}.`
          : `Saved: ${listed(names)} ${names.length > 1 ? "are" : "is"} not ${left}, now ${now}.`,
        () => takeBack(change, pictures),
      );
      show();
      written.focus({ preventScroll: true });
      corrected();
    } catch (error) {
      problem.textContent = `Nothing was saved: ${error.message}`;
      show();
      button.focus();
    }
  }

  /** Undo a correction; its pictures are selected again. */
  async function takeBack(change, pictures) {
    problem.textContent = "";
    try {
      await undo(change);
    } catch (error) {
      problem.textContent = error.message;
      return;
    }
    fill(written);
    for (const picture of pictures) selected.set(picture.key, picture);
    show();
    corrected();
    (same.disabled ? clear : same).focus({ preventScroll: true });
  }

  function tell(what, back) {
    const button = (words, click) => h("button", { type: "button", class: "quiet", on: { click } }, words);
    const link = h(
      "a",
      { href: "api/corrections.csv", download: "corrections.csv", on: { click: download } },
      "corrections.csv",
    );
    fill(
      written,
      h("p", {}, h("strong", {}, what), " This applies to all pictures of a label."),
      h("div", { class: "actions" }, button("Undo", back), link, button("Dismiss", () => (fill(written), show(), rest()))),
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
    show();
  }

  return { tick, set, renew, has: (key) => selected.has(key), element: bar };
}
