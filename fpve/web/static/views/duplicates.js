// Pictures that are there more than once: a row for each, with the one to keep first.

import { bdi, button, el, icon } from "../dom.js";
import { bytes, count, fileName, plural } from "../words.js";
import { Answers } from "./answers.js";
import { acting, Bench, Slide } from "./bench.js";
import { compare } from "./compare.js";
import { Pieces } from "./pieces.js";

// What the library takes where nothing is said.
const ALIKE = 0.92;
// A look at a cluster is a look at its pictures: twenty fill some screens.
const CLUSTERS = 20;
// More of one cluster are not looked at one by one.
const MEMBERS = 60;

let app, bench, slide, answers, pieces, state;

const view = {
  name: "duplicates",
  title: "Duplicates",
  show(root, given) {
    if (!bench) build(root, given);
    slide.value = threshold();
    answers.show();
    answers.come();
  },
  update(_, changed) {
    slide.value = threshold();
    if (changed.has("snapshot")) answers.load({ keep: true });
    else answers.show();
  },
  hide: () => answers.leave(),
};
export default view;

const threshold = () => Number(state.get("alike") ?? ALIKE);

function build(root, given) {
  app = given;
  state = app.state;
  slide = new Slide({
    label: "Alike from", about: "The least cosine of a picture's features with those of the one that is kept",
    min: 0.8, max: 1, step: 0.005, says: (value) => value.toFixed(3),
    onchange: (value) => state.set({ alike: value === ALIKE ? null : String(value) }),
  });
  const place = el("div", { class: "bench-place" });
  pieces = new Pieces(app, place);
  answers = new Answers(app, place, {
    path: "/api/duplicates", working: "Comparing pictures with those that are near them.", size: CLUSTERS,
    params,
    items: clustersOf, total: (answer) => answer.clusters,
    list: () => el("ol", { class: "clusters", "aria-label": "Clusters, the largest first" }), make: cluster, told,
    empty: () => ({
      title: "No picture is there twice.", icon: "check",
      text: `No two files are the same, nor alike to a cosine of ${threshold()} or more. A lower bound finds what is less alike: scans of one page, frames of one scene.`,
      action: threshold() > ALIKE ? { text: `Look from ${ALIKE}`, onclick: () => state.set({ alike: null }) } : null,
    }),
  });
  const actions = acting(app, { select: "Select all that could go", name: "The images that could go, as a table", ids: everything });
  bench = new Bench({ controls: [slide.element], actions });
  root.replaceChildren(bench.element, place);
}

const params = () => ({ ...app.conditions(), threshold: threshold() === ALIKE ? null : threshold() });

/** The ids of all that could go: also of what is not told of the largest clusters. */
const everything = async () => (await app.api.poll("/api/duplicates/ids", params())).ids;

function told(answer) {
  if (!answer) return bench.tell({ title: "Duplicates" });
  const { removable: goes, removable_bytes: size } = answer;
  bench.tell({
    title: answer.clusters ? `${plural(goes, "image")} could go${size ? `: ${bytes(size)}` : ""}` : "Duplicates",
    about: answer.clusters ? `${plural(answer.clusters, "picture is", "pictures are")} there more than once; the largest of each stays. Nothing is deleted here: select, look, and export the list.` : "",
    notes: answer.notes, actions: answer.clusters > 0,
  });
}

function clustersOf({ rows }) {
  const found = [];
  for (const row of rows) {
    if (found.at(-1)?.[0].cluster === row.cluster) found.at(-1).push(row);
    else found.push([row]);
  }
  return found;
}

function cluster(rows) {
  const others = rows.slice(1), all = rows[0].cluster_size, same = others.filter((row) => row.kind === "exact").length, near = others.length - same;
  const size = others.reduce((sum, row) => sum + (row.bytes ?? 0), 0);
  const select = () => app.selection.add(others.map((row) => row.image.image_id));
  const what = rows.length < all ? [`${count(all - 1)} could go, of which the first ${count(others.length)} are told`]
    : [same && plural(same, "exact copy", "exact copies"), near && `${count(near)} nearly the same`, size && `${bytes(size)} could go`];
  return el("li", { class: "cluster" },
    el("div", { class: "cluster-head" },
      el("h2", { text: plural(all, "picture") }),
      el("p", { class: "soft", text: what.filter(Boolean).join(" · ") }),
      button({ class: "plain", text: "Select what could go", onclick: select }),
      button({ class: "plain", text: "Compare", onclick: () => compare(app, rows, 1) })),
    el("ol", { class: "members" }, rows.slice(0, MEMBERS).map((row, at) => el("li", {}, member(rows, row, at)))),
    all > MEMBERS && el("p", { class: "soft", text: `and ${count(all - Math.min(MEMBERS, rows.length))} more` }));
}

function member(rows, row, at) {
  const what = at ? kindOf(row) : "keep";
  return [
    pieces.make(row.image, { onclick: () => compare(app, rows, Math.max(1, at)) }),
    el("p", { class: ["verdict", at ? "goes" : "stays"] }, at ? null : icon("check"), el("b", { text: what }),
      row.kind === "near" && el("span", { text: row.cosine.toFixed(3), title: "cosine of the features" })),
    el("p", { class: "member-size" }, sizeOf(row)),
    el("p", { class: "member-file" }, bdi(fileName(row.image.path), { title: row.image.path })),
  ];
}

/** What makes a picture a duplicate, in a word. */
export const kindOf = (row) => row.kind === "exact" ? "exact copy" : row.mirrored ? "mirrored" : "near";

/** Its size in pixels and bytes. */
export const sizeOf = (row) => [row.image.width && `${count(row.image.width)} × ${count(row.image.height)}`, row.bytes && bytes(row.bytes)].filter(Boolean).join(" · ");
