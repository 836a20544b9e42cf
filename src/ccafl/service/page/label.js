// One question at a time: are these two tracks one person? Every answer is kept by the service before the next is shown.
import { byId, fill, h, onAnswerKeys } from "./dom.js";
import { clockOf, dateOf, percent, several } from "./format.js";

let state = null;
let waiting = false;

async function call(path, content) {
  const options =
    content === undefined
      ? {}
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The service does not answer. Check that it is still running; answers until now are kept.");
  }
  const given = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof given.detail === "string" ? given.detail : `The service answered ${answer.status}.`);
  return given;
}

async function change(path, content) {
  if (waiting) return; // a key held down answers once
  waiting = true;
  let problem = "";
  try {
    state = await call(path, content);
  } catch (error) {
    problem = error.message;
    if (content !== undefined) state = await call("api/label").catch(() => state);
  }
  waiting = false;
  if (state) show();
  fill(byId("problem"), problem);
}

function act(name) {
  if (!state) return;
  if (name === "undo") {
    if (state.undo) change("api/label/undo", {});
  } else if (state.tracks.length) {
    const [one, other] = state.tracks.map((track) => track.number);
    change("api/label/answer", { one, other, answer: name });
  }
}

function show() {
  const asked = state.tracks.length > 0;
  const { cameras, camera, tracks, probability } = state;
  fill(byId("camera"), ...cameras.map(({ name }) => h("option", { value: name, selected: name === camera }, name)));
  fill(byId("question"), asked ? "Do both tracks show the same person?" : "Nothing is left to ask here.");
  fill(byId("likely"), asked ? [likely(probability), between(tracks)].filter(Boolean).join(" · ") : "");
  fill(byId("tracks"), ...tracks.map(trackShown));
  for (const name of ["yes", "no", "skip"]) byId(name).disabled = !asked;
  byId("undo").disabled = !state.undo;
  const own = cameras.find(({ name }) => name === camera);
  byId("bar").value = own.answered + own.left ? own.answered / (own.answered + own.left) : 1;
  fill(
    byId("progress"),
    `${several(own.answered, "answer")}, ${own.left} worth asking · ${several(own.labels, "track")}, ${several(own.persons, "person")}`,
  );
  fill(byId("table"), `Answers are in ${state.table}.`);
}

function trackShown({ label, begin, end, pictures }) {
  const images = pictures.map((number) =>
    h("li", {}, h("img", { src: `api/label/pictures/${number}/thumbnail`, alt: `Track ${label}`, draggable: "false" })),
  );
  const from = new Date(begin);
  const until = new Date(end);
  return h(
    "section",
    { class: "track", "aria-label": `Track ${label}` },
    h("h3", {}, `Track ${label}`, h("span", {}, h("span", { class: "day" }, `${dateOf(from)}, `), `${clockOf(from)} – ${clockOf(until)}`, h("span", { class: "day" }, " UTC"))),
    h("ul", {}, ...images),
  );
}

const likely = (probability) => (probability === null ? "Asked again" : `Estimated probability ${percent(probability)}`);

/** How long the second track begins after the first has ended, in words; empty if they overlap. */
function between([one, other]) {
  const [first, second] = new Date(one.begin) <= new Date(other.begin) ? [one, other] : [other, one];
  const seconds = Math.round((new Date(second.begin) - new Date(first.end)) / 1000);
  if (seconds < 0) return "seen at the same time";
  if (seconds < 120) return `${seconds} s apart`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min apart` : `${Math.round(seconds / 3600)} h apart`;
}

onAnswerKeys(document, act);
for (const name of ["yes", "no", "skip", "undo"]) byId(name).addEventListener("click", () => act(name));
byId("camera").addEventListener("change", ({ target }) => {
  target.blur(); // so that the keys answer again
  change("api/label/camera", { camera: target.value });
});
change("api/label");
