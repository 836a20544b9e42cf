// The list of corrections, and its table for training.

import { corrections, downloadCorrections } from "./api.js";
import { fill, h } from "./dom.js";
import { labelName, several } from "./format.js";

/** Show all corrections. */
export async function showCorrections(dialog) {
  const place = h("div", { role: "status" }, "Loading…");
  const problem = h("p", { class: "problem", role: "alert" });
  const download = (event) => downloadCorrections(event).catch((refusal) => (problem.textContent = refusal.message));
  fill(
    dialog,
    h(
      "header",
      {},
      h("h2", { id: "corrections-heading" }, "Corrections"),
      h("button", { type: "button", on: { click: () => dialog.close() } }, "Close"),
    ),
    place,
    problem,
  );
  dialog.showModal();
  try {
    const rows = await corrections();
    if (!rows.length) {
      fill(place, h("p", {}, "None yet. Select pictures, then choose “Same person” or “Not this person”."));
      return;
    }
    fill(
      place,
      h(
        "p",
        {},
        `${several(rows.length, "pair")} of labels. `,
        h(
          "a",
          { href: "api/corrections.csv", download: "corrections.csv", on: { click: download } },
          "Download corrections.csv",
        ),
        ", which training reads with ",
        h("code", {}, "--set data.links=corrections.csv"),
        ".",
      ),
      h(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": "Table of corrections" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Label", "is", "Label"].map((name) => h("th", { scope: "col" }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map((row) =>
              h(
                "tr",
                {},
                h("td", {}, labelName({ camera: row.camera_a, label: row.label_a })),
                h("td", {}, row.kind === "must_link" ? "the same person as" : "not the same person as"),
                h("td", {}, labelName({ camera: row.camera_b, label: row.label_b })),
              ),
            ),
          ),
        ),
      ),
    );
  } catch (refusal) {
    fill(place);
    problem.textContent = refusal.message;
  }
}
