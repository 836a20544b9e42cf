// Pictures from this computer, kept while the page is open. They are sent only as part of a search.

const files = new Map();
const begun = Date.now().toString(36);

/** Keep files and return their ids, which later pages in the same tab never reuse. */
export function keep(list) {
  return [...list].map((file) => {
    const id = `${begun}-${files.size}`;
    files.set(id, { file, url: URL.createObjectURL(file) });
    return id;
  });
}

/** A file and an object URL of it; undefined after a reload. */
export const kept = (id) => files.get(id);
