// Pictures of this computer, kept while the page lives. They leave it only to be searched by.

const files = new Map();
const begun = Date.now().toString(36);

/** Keep files; their ids, which later pages of the same tab never have. */
export function keep(list) {
  return [...list].map((file) => {
    const id = `${begun}-${files.size}`;
    files.set(id, { file, url: URL.createObjectURL(file) });
    return id;
  });
}

/** A file and an object URL of it; undefined after a reload. */
export const kept = (id) => files.get(id);
