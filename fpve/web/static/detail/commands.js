// The same question for the command line, and for Python.

const shell = (text) => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
// JSON's strings and numbers are Python's as well.
const python = (value) => JSON.stringify(value);

/** `fpve search …` for {text, id, picture, image_weight}, under a condition; of no query `fpve sql`. */
export function asCommand(status, query, condition) {
  if (!query) return `fpve sql ${shell(status.store)} ${shell(`FROM images${condition ? ` WHERE ${condition}` : ""}`)}`;
  const words = ["fpve", "search", shell(status.store)];
  for (const [name, value] of options(query, condition))
    words.push(
      `--${name === "image" || name === "id" || name === "text" || name === "where" ? name : "image-weight"}`,
      shell(String(value)),
    );
  return words.join(" ");
}

/** The same by the API. */
export function asPython(status, query, condition) {
  const open = `import fpve\n\nstore = fpve.open(${python(status.store)})\n`;
  if (!query) return `${open}images = store.sql(${python(`FROM images${condition ? ` WHERE ${condition}` : ""}`)})`;
  return `${open}hits = store.search(${options(query, condition)
    .map(([name, value]) => `${name}=${python(value)}`)
    .join(", ")})`;
}

function options({ text, id, picture, image_weight }, condition) {
  // Of an uploaded picture the page knows no path.
  const given = [
    ["image", picture === null ? null : "PICTURE.jpg"],
    ["id", id],
    ["text", text],
    ["image_weight", image_weight],
    ["where", condition],
  ];
  return given.filter(([, value]) => value !== null && value !== undefined);
}
