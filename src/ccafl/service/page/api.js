// Calls to the service. If it needs a token, thumbnails are fetched with it too.

const KEPT = "ccafl-token";
const THUMBNAILS = 600; // object URLs kept at a time

/** The service refused a request, or did not answer (status 0). */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let token = sessionStorage.getItem(KEPT);
let askForToken = async () => null;
let asking = null;

/** `ask(wrong)` resolves to a token, or null if none is given; `wrong` is true if one was refused. */
export function whenTokenIsNeeded(ask) {
  askForToken = ask;
}

export const hasToken = () => token !== null;

/**
 * The answer to a call; asks for a token if the service needs one, and tries again.
 *
 * @throws {Refusal}
 */
async function call(path, options = {}) {
  for (;;) {
    const sent = token;
    const headers = { ...options.headers, ...(sent === null ? {} : { Authorization: `Bearer ${sent}` }) };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal(0, "The service does not answer. Check that it is still running, then try again.");
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await refusal(answer);
    if (token !== sent) continue; // another call has obtained one meanwhile
    asking ??= askForToken(sent !== null).finally(() => (asking = null));
    const given = await asking;
    if (given === null) throw new Refusal(401, "The service needs a token.");
    token = given;
    sessionStorage.setItem(KEPT, given);
  }
}

async function refusal(answer) {
  const wait = Number(answer.headers.get("Retry-After"));
  let detail = "";
  try {
    ({ detail } = await answer.json());
  } catch {
    // no JSON: the status must do
  }
  if (typeof detail !== "string" || !detail)
    detail = `The service answered ${answer.status} ${answer.statusText}`.trim();
  return new Refusal(answer.status, wait ? `${detail} (try again in ${wait} s)` : detail);
}

const json = async (path, options) => (await call(path, options)).json();
const send = (path, content) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
const sendKeys = async (path, keys) => (await send(path, { keys })).json();

export const gallery = () => json("api/gallery");
export const search = (form, signal) => json("api/search", { method: "POST", body: form, signal });
export const merge = (keys) => sendKeys("api/corrections/merge", keys);
export const split = (keys) => sendKeys("api/corrections/split", keys);
export const corrections = () => json("api/corrections");
export const undo = (change) => send("api/corrections/undo", { change });
export const name = (identity, name) => send("api/names", { identity, name });

const labelOf = ({ camera, label }) => ({ camera, label });
export const link = async (one, other, kind) =>
  (await send("api/corrections", { one: labelOf(one), other: labelOf(other), kind })).json();
export const removeCorrection = async (one, other) =>
  (await send("api/corrections/remove", { one: labelOf(one), other: labelOf(other) })).json();

export const doubts = (limit) => json(`api/review?limit=${limit}`);
export const persons = (limit, offset, signal) => json(`api/persons?${new URLSearchParams({ limit, offset })}`, { signal });

/** Pictures, the latest first: of a camera, or with null of all. */
export const pictures = (camera, limit, offset, signal) =>
  json(`api/pictures?${new URLSearchParams({ ...(camera === null ? {} : { camera }), limit, offset })}`, { signal });

const known = new Map(); // pictures from earlier answers, by key
const identities = new Map(); // pictures of identities requested before

/** Remember pictures from an answer. */
export function remember(pictures) {
  for (const picture of pictures) known.set(picture.key, picture);
}

/** Forget all pictures: identities have changed. */
export function forget() {
  known.clear();
  identities.clear();
}

/** A picture if it is remembered, or undefined. */
export const remembered = (key) => known.get(key);

export async function picture(key) {
  if (!known.has(key)) remember([await json(`api/pictures/${encodeURIComponent(key)}`)]);
  return known.get(key);
}

/** An identity's pictures if they are remembered, or undefined. */
export const rememberedPerson = (identity) => identities.get(identity);

/** An identity's pictures. */
export async function person(identity, signal) {
  const { pictures } = await json(`api/identities/${encodeURIComponent(identity)}`, { signal });
  remember(pictures);
  identities.set(identity, pictures);
  return pictures;
}

/** All pictures of a picture's track. */
export async function track(key, signal) {
  const pictures = await json(`api/track/${encodeURIComponent(key)}`, { signal });
  remember(pictures);
  return pictures;
}

/** Where in its footage a picture was cut out: second, and the video's address. */
export const moment = (key) => json(`api/pictures/${encodeURIComponent(key)}/moment`);

/** An object URL of the frame that a picture was cut out of. */
export const frame = async (key) =>
  URL.createObjectURL(await (await call(`api/pictures/${encodeURIComponent(key)}/frame`)).blob());

/** Show a picture in its own size in an `img`; until it has come, or if it does not come, its thumbnail. */
export function showLarge(img, key) {
  showThumbnail(img, key);
  call(`api/pictures/${encodeURIComponent(key)}/picture`)
    .then((answer) => answer.blob())
    .then((blob) => {
      const url = URL.createObjectURL(blob);
      seen.unobserve(img);
      img.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      img.src = url;
    })
    .catch(() => {}); // the thumbnail stays
  return img;
}

/** Follow a link to the table of corrections; with a token the table is fetched by script. */
export async function downloadCorrections(event) {
  if (token === null) return; // the link works by itself
  event.preventDefault();
  const url = URL.createObjectURL(await (await call("api/corrections.csv")).blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const blobs = new Map(); // object URLs by key, last used last
const wanted = new WeakMap();
const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      fetched(wanted.get(target)).then(
        (url) => (target.src = url),
        () => target.classList.add("missing"),
      );
    }
  },
  { rootMargin: "300px" },
);

/** Show a picture's thumbnail in an `img` when it comes into view. */
export function showThumbnail(img, key) {
  img.decoding = "async";
  if (token === null) {
    img.loading = "lazy";
    img.addEventListener("error", () => img.classList.add("missing"));
    img.src = `api/pictures/${encodeURIComponent(key)}/thumbnail`;
  } else {
    wanted.set(img, key);
    seen.observe(img);
  }
  return img;
}

function fetched(key) {
  const url =
    blobs.get(key) ??
    call(`api/pictures/${encodeURIComponent(key)}/thumbnail`).then(async (answer) =>
      URL.createObjectURL(await answer.blob()),
    );
  blobs.delete(key);
  blobs.set(key, url);
  url.catch(() => blobs.delete(key));
  if (blobs.size > THUMBNAILS) {
    const [oldest, old] = blobs.entries().next().value;
    blobs.delete(oldest);
    old.then(URL.revokeObjectURL, () => {});
  }
  return url;
}
