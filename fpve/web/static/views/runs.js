// What each run of a job did, the newest first, and how the store grew.

import { bdi, el, svg } from "../dom.js";
import { mark, nothing, Table } from "../tables.js";
import { count, plural, time, valueText } from "../words.js";
import { Bench } from "./bench.js";
import { pagedView, SqlPages } from "./pages.js";

const PAGE = 100;
// Runs that the width of the chart is for: a few bars are not as wide as buttons.
const LEAST = 30;

let bench, chart, place, pages, app;

export default pagedView("runs", "Runs", build);

function build(root, given) {
  app = given;
  place = el("div", { class: "bench-place" });
  chart = el("figure", { class: "growth", hidden: true });
  const figure = (title, name, given = {}) => ({ title, number: true, cell: (row) => row[name] ? count(row[name]) : nothing(), ...given });
  const table = new Table({
    caption: "Runs, the newest first",
    columns: [
      { title: "Snapshot", number: true, cell: (row) => row.snapshot === null ? nothing() : el("b", { text: count(row.snapshot) }) },
      { title: "When", cell: (row) => el("time", { datetime: row.started_at, text: time(row.started_at) }) },
      { title: "Job", lesser: true, cell: (row) => bdi(row.job) },
      { title: "Status", cell: status },
      figure("Encoded", "encoded", { lesser: true }), figure("Fused", "fused", { lesser: true }), figure("Removed", "removed", { lesser: true }), figure("Quarantined", "quarantined", { lesser: true }),
      { title: "Time", number: true, cell: (row) => row.total_seconds === null ? nothing() : duration(row.total_seconds) },
      { title: "Images/s", number: true, lesser: true, cell: (row) => row.images_per_second ? row.images_per_second.toFixed(1) : nothing() },
    ],
    more: everything,
  });
  const query = (size, offset) => `SELECT * FROM runs ORDER BY started_at DESC LIMIT ${size} OFFSET ${offset}`;
  pages = new SqlPages(app, place, { table, size: PAGE, query, begun });
  bench = new Bench({ beside: chart });
  root.replaceChildren(bench.element, place);
  return pages;
}

function begun(rows) {
  const last = rows[0], size = app.status?.images;
  bench.tell({
    title: "Runs",
    about: last ? `The last one was ${time(last.started_at)}${size === undefined ? "" : `; the store has ${plural(size, "image")}`}.` : "",
  });
  drawGrowth(rows);
  if (!rows.length) app.notice(place, { title: "No run is on record.", text: "Each run of a job leaves a line here: what it encoded, removed and could not read, and how long that took." });
  return rows.length > 0;
}

function status(row) {
  if (row.error) return mark("failed", false);
  if (!row.published) return el("span", { class: "soft", text: "nothing to do" });
  return mark("published", true);
}

function duration(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  return value < 3600 ? `${Math.floor(value / 60)} min ${Math.round(value % 60)} s` : `${Math.floor(value / 3600)} h ${Math.round(value % 3600 / 60)} min`;
}

/** All columns of a run: an error first, then figures by name. */
function everything(row) {
  const names = Object.keys(row).filter((name) => name !== "error");
  return el("div", { class: "everything" }, row.error && el("p", { class: "field-error", text: row.error, dir: "auto" }),
    el("dl", {}, names.map((name) => el("div", {}, el("dt", { text: name.replaceAll("_", " ") }),
      el("dd", {}, bdi(name === "started_at" ? time(row[name]) : typeof row[name] === "number" ? Number.isInteger(row[name]) ? count(row[name]) : String(row[name]) : valueText(row[name])))))));
}

/** How many images the jobs had after each run: what a job scanned and could read is what its collections hold. */
function growth(rows) {
  const held = new Map(), points = [];
  for (const row of rows.toReversed()) {
    if (row.error || !row.published) continue;
    held.set(row.job, row.scanned - row.quarantined);
    points.push({ row, images: [...held.values()].reduce((sum, one) => sum + one, 0) });
  }
  return points;
}

function drawGrowth(rows) {
  const points = growth(rows);
  // One bar tells nothing; and of more than a page the first ones are not there.
  chart.hidden = points.length < 2 || rows.length === PAGE;
  if (chart.hidden) return;
  const most = Math.max(1, ...points.map((point) => point.images)), wide = Math.max(LEAST, points.length);
  const bars = points.map(({ row, images }, at) => svg("rect", {
    x: wide - points.length + at + 0.12, y: 100 - 100 * images / most, width: 0.76, height: 100 * images / most, class: row.encoded || row.fused ? "" : "is-quiet",
  }, svg("title", {}, `snapshot ${row.snapshot}, ${time(row.started_at)}: ${plural(images, "image")}`)));
  const first = points[0], last = points.at(-1);
  chart.replaceChildren(
    svg("svg", { viewBox: `0 0 ${wide} 100`, preserveAspectRatio: "none", role: "img", "aria-label": `Images after each of ${points.length} runs, from ${count(first.images)} to ${count(last.images)}` }, ...bars),
    el("figcaption", { text: `images after each of ${plural(points.length, "run")}` }));
}
