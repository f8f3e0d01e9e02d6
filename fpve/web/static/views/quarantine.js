// What could not be encoded, and why: inputs that a person has to look after.

import { bdi, el } from "../dom.js";
import { Table } from "../tables.js";
import { count, fileName, plural, time } from "../words.js";
import { Bench } from "./bench.js";
import { pagedView, SqlPages } from "./pages.js";

const PAGE = 200;
// Reasons that are shown as buttons; what is left is found by the filter.
const REASONS = 12;
// A pause of a typing hand, in milliseconds.
const PAUSE = 180;

let app, bench, filter, reasons, place, pages;
let text = "", reason = null;

export default pagedView("quarantine", "Quarantine", build);

function build(root, given) {
  app = given;
  let timer = 0;
  filter = el("input", {
    type: "search", class: "input", placeholder: "Filter by name or reason", "aria-label": "Filter by name or reason", autocomplete: "off", spellcheck: "false",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => ask(filter.value.trim(), reason), PAUSE);
    },
  });
  reasons = el("div", { class: "reasons", role: "group", "aria-label": "Reasons" });
  place = el("div", { class: "bench-place" });
  const table = new Table({
    caption: "Inputs that could not be encoded",
    columns: [
      { title: "Input", wide: true, cell: input },
      { title: "Reason", wide: true, cell: (row) => bdi(row.reason) },
      { title: "Collection", lesser: true, cell: (row) => bdi(row.collection) },
      { title: "Found", lesser: true, cell: (row) => row.at && el("time", { datetime: row.at, text: time(row.at) }) },
    ],
  });
  const query = (size, offset) => `SELECT * FROM quarantine ${condition()} ORDER BY "at" DESC, image_id LIMIT ${size} OFFSET ${offset}`;
  pages = new SqlPages(app, place, { table, size: PAGE, query, begun });
  bench = new Bench({ controls: [filter, reasons] });
  root.replaceChildren(bench.element, place);
  return pages;
}

function input(row) {
  const path = row.path ?? row.image_id;
  return [el("b", { dir: "auto", text: fileName(path) }), el("p", { class: "soft path" }, bdi(path))];
}

function ask(nextText, nextReason) {
  text = nextText;
  reason = nextReason;
  pages.load();
}

/** A text as SQL has it. */
const quoted = (value) => `'${value.replaceAll("'", "''")}'`;

function condition({ ofReason = true } = {}) {
  const has = (column) => `contains(lower(coalesce(${column}, '')), lower(${quoted(text)}))`;
  const wanted = text ? [`(${["image_id", "path", "reason"].map(has).join(" OR ")})`] : [];
  if (ofReason && reason !== null) wanted.push(`reason = ${quoted(reason)}`);
  return wanted.length ? `WHERE ${wanted.join(" AND ")}` : "";
}

async function begun(rows) {
  const groups = await pages.rows(`SELECT reason, count(*) AS inputs FROM quarantine ${condition({ ofReason: false })} GROUP BY reason ORDER BY inputs DESC, reason`);
  const every = groups.reduce((sum, group) => sum + group.inputs, 0), isEmpty = !every && !text;
  filter.hidden = reasons.hidden = isEmpty;
  bench.tell({
    title: isEmpty ? "Quarantine" : text ? `${plural(every, "input")} of this name or reason` : `${plural(every, "input")} could not be encoded`,
    about: isEmpty ? "" : "They are not in the store. Put them right or take them away: the next run tries again what has changed.",
  });
  reasons.replaceChildren(...groups.slice(0, REASONS).map(chip),
    groups.length > REASONS ? el("span", { class: "soft", text: `and ${plural(groups.length - REASONS, "more reason")}` }) : "");
  if (rows.length) return true;
  if (isEmpty) app.notice(place, { title: "Every input could be encoded.", icon: "check", text: "What is broken, cut short or no picture at all would be listed here with its reason. It stops a run only where there is more of it than the job's max_quarantine allows." });
  else app.notice(place, { title: "None of them is called so.", text: "The filter looks at names, folders and reasons.", action: { text: "Show all", onclick: showAll } });
  return false;
}

const chip = (group) => el("button", {
  type: "button", class: "reason", "aria-pressed": String(reason === group.reason),
  onclick: () => ask(text, reason === group.reason ? null : group.reason),
}, bdi(group.reason), el("b", { text: count(group.inputs) }));

function showAll() {
  filter.value = "";
  ask("", null);
}
