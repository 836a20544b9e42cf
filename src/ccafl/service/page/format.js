// How values are written for people. Times are in UTC throughout, as in the gallery.

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const shortDay = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZone: "UTC",
});
const number = new Intl.NumberFormat("en-GB");

export const count = (value) => number.format(value);
export const several = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const score = (value) => value.toFixed(3);

/** A probability in percent, of which none is for certain. */
export const percent = (probability) =>
  probability < 0.005 ? "<1%" : `${Math.min(Math.round(100 * probability), 99)}%`;

/** How probably a hit shows the person, in words; its score where that is unknown. */
export const likelihood = (hit) =>
  hit.probability === null || hit.probability === undefined
    ? score(hit.score)
    : `${percent(hit.probability)} ${hit.verdict}`;
export const cameraName = (camera) => given(camera) || "no camera";
export const personName = (identity, name = "") =>
  name ? given(name) : /^\d+$/.test(identity) ? `Person ${identity}` : given(identity);
export const labelName = (picture) => `${cameraName(picture.camera)} ${given(picture.label)}`;

/** A name from outside: it cannot turn the text around it, and what cannot be seen in it is shown. */
export function given(name) {
  const seen = name.replace(/[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe]/.test(seen) ? `\u2068${seen}\u2069` : seen;
}

export const dateOf = (time) => day.format(time);
export const shortDateOf = (time) => shortDay.format(time);
export const clockOf = (time) => clock.format(time);

/** "4 May 2026, 15:48:02"; empty without a time. */
export function longTime(iso) {
  return iso ? `${day.format(new Date(iso))}, ${clock.format(new Date(iso))}` : "";
}

/** "4 May 15:48:02", for small places. */
export function shortTime(iso) {
  return iso ? `${shortDay.format(new Date(iso))} ${clock.format(new Date(iso))}` : "";
}

const local = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

/** "4 May, 17:48:02 CEST" in the reader's time zone; empty where that is UTC. */
export function localTime(iso) {
  const time = new Date(iso);
  return time.getTimezoneOffset() ? local.format(time) : "";
}

/** "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** "2 h 57 min" of milliseconds: the two largest units. */
export function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "0 s";
  const [[name, length], next] = [units[first], units[first + 1]];
  const rest = next ? Math.floor((seconds % length) / next[1]) : 0;
  return `${Math.floor(seconds / length)} ${name}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

/** "4 May 2026, 08:01:02 to 17:40:10". */
export function timeSpan(first, last) {
  if (first === last) return longTime(first);
  const sameDay = dateOf(new Date(first)) === dateOf(new Date(last));
  return `${longTime(first)} to ${sameDay ? clockOf(new Date(last)) : longTime(last)}`;
}
