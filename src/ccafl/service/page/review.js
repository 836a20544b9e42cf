// Doubtful joins, one after the other: are these two labels one person? Each answer is kept before the next is asked.

import * as api from "./api.js";
import { fill, h, onAnswerKeys } from "./dom.js";
import { cameraName, given, percent, personName, several, timeSpan } from "./format.js";

/**
 * The dialog that asks.
 *
 * @param {HTMLDialogElement} dialog
 * @param {() => void} changed called when it closes after answers were given
 */
export function review(dialog, changed) {
  let question = null;
  let again = null; // a question that an undo brought back
  let total = 0;
  let answered = 0;
  let done = []; // what was answered or skipped here, to be taken back
  let waiting = false;
  const heading = h("h2", { id: "review-heading", tabindex: "-1" }, "Doubtful joins");
  const asks = h("div", { class: "says" });
  const pair = h("div", { class: "pair-of-labels" });
  const problem = h("p", { class: "problem", role: "alert" });
  const bar = h("progress", { max: "1", value: "0", "aria-label": "Answered" });
  const says = h("p", { role: "status" });
  const button = (name, words, primary) =>
    h(
      "button",
      { type: "button", class: primary ? "primary" : "", "aria-keyshortcuts": words[0], on: { click: () => act(name) } },
      words,
      h("kbd", { "aria-hidden": "true" }, words[0]),
    );
  const buttons = { yes: button("yes", "Yes", true), no: button("no", "No"), skip: button("skip", "Skip"), undo: button("undo", "Undo") };
  fill(
    dialog,
    h("header", {}, heading, h("button", { type: "button", on: { click: () => dialog.close() } }, "Close")),
    asks,
    pair,
    h("div", { class: "answers", role: "group", "aria-label": "Answer" }, Object.values(buttons)),
    problem,
    h("div", { class: "how-far" }, bar, says),
  );
  onAnswerKeys(dialog, act);
  dialog.addEventListener("close", () => answered && changed());

  const idOf = ({ one, other }) => JSON.stringify([one.camera, one.label, other.camera, other.label]);

  async function next() {
    if (again) question = again;
    else {
      const skipped = done.filter((step) => step.change === null).map((step) => idOf(step.question));
      const found = await api.doubts(Math.min(50, skipped.length + 1));
      total = found.total;
      const fresh = found.questions.find((own) => !skipped.includes(idOf(own)));
      question = fresh ?? found.questions[0] ?? null;
    }
    again = null;
  }

  async function act(name) {
    if (waiting || buttons[name].disabled) return; // a key held down answers once
    waiting = true;
    problem.textContent = "";
    try {
      if (name === "undo") await takeBack();
      else {
        const { one, other } = question;
        const made = name === "skip" ? null : await api.link(one, other, name === "yes" ? "must_link" : "cannot_link");
        done.push({ question, change: made?.change ?? null });
        if (made) answered += 1;
      }
      await next();
    } catch (refusal) {
      problem.textContent = refusal.message;
      if (refusal.status === 409) await next().catch(() => {}); // the gallery has changed meanwhile
    }
    waiting = false;
    show();
  }

  async function takeBack() {
    const last = done.at(-1);
    if (last.change !== null) await api.undo(last.change);
    done.pop();
    again = last.question;
  }

  function show() {
    const { yes, no, skip, undo } = buttons;
    yes.disabled = no.disabled = skip.disabled = !question;
    undo.disabled = !done.length;
    says.textContent = question
      ? `${several(total, "doubtful join")} left, the most useful first. ${several(answeredNow(), "answer")} so far.`
      : "";
    bar.value = question ? answeredNow() / Math.max(answeredNow() + total, 1) : 1;
    if (!question) {
      fill(asks, h("p", {}, h("strong", {}, "Nothing is left to ask.")), h("p", { class: "hint" }, nothing()));
      fill(pair);
      return;
    }
    const now = question.joined ? `Joined now, as ${who(question.one)}` : "Apart now";
    fill(asks, h("h3", {}, "Is this the same person?"), h("p", { class: "hint how-likely" }, now, estimate(question.probability)));
    const most = Math.max(question.one.keys.length, question.other.keys.length);
    pair.style.setProperty("--across", most < 4 ? most : Math.ceil(most / 2));
    fill(pair, side(question.one), side(question.other));
  }

  function estimate(probability) {
    if (probability === null) return h("span", {}, "not each other’s nearest");
    const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
    meter.firstChild.style.width = `${100 * probability}%`;
    return [meter, h("span", {}, `estimated probability ${percent(probability)}`)];
  }

  const answeredNow = () => done.filter((step) => step.change !== null).length;
  const who = ({ identity, name }) => (identity ? personName(identity, name) : "not joined");
  const nothing = () =>
    answeredNow()
      ? `${several(answeredNow(), "answer")} given. They are among the corrections, which training can use.`
      : "All labels that might be one person are decided, or there are too few to compare.";

  function side(own) {
    const when = own.first ? timeSpan(own.first, own.last) : "";
    const title = `${cameraName(own.camera)} ${given(own.label)}`;
    return h(
      "section",
      { class: "side", "aria-label": title },
      h("h4", {}, h("span", {}, cameraName(own.camera)), " ", h("span", { class: "faint" }, given(own.label))),
      h("p", { class: "faint" }, [who(own), several(own.pictures, "picture"), when].filter(Boolean).join(", ")),
      h(
        "ul",
        {},
        own.keys.map((key, number) => h("li", {}, api.showThumbnail(h("img", { alt: `${title}, picture ${number + 1}` }), key))),
      ),
    );
  }

  return {
    async open() {
      question = again = null;
      done = [];
      answered = total = 0;
      problem.textContent = "";
      fill(pair);
      fill(asks, h("p", { class: "hint", role: "status" }, "Comparing all labels across cameras…"));
      for (const one of Object.values(buttons)) one.disabled = true;
      says.textContent = "";
      dialog.showModal();
      heading.focus();
      try {
        await next();
        show();
      } catch (refusal) {
        fill(asks);
        problem.textContent = refusal.message;
      }
    },
  };
}
