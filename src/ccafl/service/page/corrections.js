// The list of corrections, each of which can be removed, and its table for training.

import { corrections, downloadCorrections, removeCorrection, showThumbnail, undo } from "./api.js";
import { fill, h } from "./dom.js";
import { labelName, several } from "./format.js";

/**
 * Show all corrections.
 *
 * @param {HTMLDialogElement} dialog
 * @param {() => void} changed called when it closes after corrections were removed
 */
export async function showCorrections(dialog, changed) {
  let different = false;
  const heading = h("h2", { id: "corrections-heading", tabindex: "-1" }, "Corrections");
  const place = h("div", {}, h("p", { role: "status" }, "Loading…"));
  const removed = h("div", { class: "written", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const failed = (refusal) => (problem.textContent = refusal.message);
  fill(
    dialog,
    h("header", {}, heading, h("button", { type: "button", on: { click: () => dialog.close() } }, "Close")),
    removed,
    problem,
    place,
  );
  dialog.addEventListener("close", () => different && changed(), { once: true });
  dialog.showModal();
  heading.focus();
  await list();

  async function list() {
    try {
      const rows = await corrections();
      fill(place, rows.length ? [intro(rows), table(rows)] : h("p", {}, "None. Select pictures, then choose “Same person” or “Not this person”."));
    } catch (refusal) {
      fill(place);
      failed(refusal);
    }
  }

  async function change(work, tell) {
    problem.textContent = "";
    try {
      const done = await work();
      different = true;
      fill(removed, tell(done));
    } catch (refusal) {
      failed(refusal);
    }
    heading.focus();
    await list();
  }

  const remove = (one, other, what) =>
    change(
      () => removeCorrection(one, other),
      (done) => [
        h("p", {}, `Removed: ${what}.`),
        h("button", { type: "button", class: "quiet", on: { click: () => change(() => undo(done.change), () => []) } }, "Undo"),
      ],
    );

  function intro(rows) {
    const download = (event) => downloadCorrections(event).catch(failed);
    return h(
      "p",
      {},
      `${several(rows.length, "pair")} of labels. `,
      h("a", { href: "api/corrections.csv", download: "corrections.csv", on: { click: download } }, "Download corrections.csv"),
      ", which training reads with ",
      h("code", {}, "--set data.links=corrections.csv"),
      ".",
    );
  }

  function table(rows) {
    const names = ["Label", "is", "Label"].map((name) => h("th", { scope: "col" }, name));
    return h(
      "div",
      { class: "wide", tabindex: "0", role: "region", "aria-label": "Table of corrections" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, names, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Remove")))),
        h("tbody", {}, rows.map(row)),
      ),
    );
  }

  function row({ kind, camera_a, label_a, camera_b, label_b, key_a, key_b }) {
    const [one, other] = [
      { camera: camera_a, label: label_a },
      { camera: camera_b, label: label_b },
    ];
    const is = kind === "must_link" ? "the same person as" : "not the same person as";
    const what = `${labelName(one)} is ${is} ${labelName(other)}`;
    const cell = (own, key) => h("td", {}, h("span", { class: "shown" }, key && showThumbnail(h("img", { alt: "" }), key), labelName(own)));
    const click = () => remove(one, other, what);
    return h(
      "tr",
      {},
      cell(one, key_a),
      h("td", { class: kind === "must_link" ? "" : "against" }, is),
      cell(other, key_b),
      h("td", {}, h("button", { type: "button", class: "quiet", "aria-label": `Remove: ${what}`, on: { click } }, "Remove")),
    );
  }
}
