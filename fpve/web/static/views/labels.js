// Labels that the neighbours of an image disagree with, the surest disagreement first.

import { bdi, button, el, icon } from "../dom.js";
import { nameOf, percent, plural, valueText } from "../words.js";
import { Answers } from "./answers.js";
import { acting, Bench, Choice } from "./bench.js";
import { labelColumns, likelyLabel } from "./columns.js";
import { Pieces } from "./pieces.js";

const PAGE = 24;
let app, bench, choice, answers, pieces, place;

const view = {
  name: "labels",
  title: "Labels",
  weighed: true,
  show(root, given) {
    if (!bench) build(root, given);
    ask(false);
    answers.come();
  },
  update(_, changed) {
    ask(changed.has("snapshot"));
  },
  hide: () => answers.leave(),
};
export default view;

function label() {
  const chosen = app.state.get("label");
  return labelColumns(app.status).includes(chosen) ? chosen : likelyLabel(app.status);
}

function build(root, given) {
  app = given;
  choice = new Choice({ label: "Label", onchange: (name) => app.state.set({ label: name || null }) });
  place = el("div", { class: "bench-place" });
  pieces = new Pieces(app, place);
  answers = new Answers(app, place, {
    path: "/api/mislabeled", working: "Asking the nearest of each image what it is.", size: PAGE,
    params: () => ({ ...app.conditions(), label: label(), image_weight: app.weight() }),
    items: (answer) => answer.rows, total: (answer) => answer.total,
    list: () => el("ol", { class: "doubts", "aria-label": "Labels in doubt, the most doubtful first" }), make: doubt, told,
    empty: () => ({ title: "No label is in doubt.", icon: "check", text: `Each image has in “${label()}” what its nearest are, or nothing that is more probable.` }),
  });
  const actions = acting(app, {
    select: "Select all in doubt", name: "The images in doubt, as a table",
    ids: async () => (await answers.all()).map((row) => row.image.image_id),
  });
  bench = new Bench({ controls: [choice.element], actions });
  root.replaceChildren(bench.element, place);
}

function ask(isNew) {
  if (!app.status) return;
  const names = labelColumns(app.status), chosen = label();
  choice.element.hidden = !names.length;
  choice.fill([...(chosen === null ? [["", "choose a column"]] : []), ...names.map((name) => [name, name])], chosen ?? "");
  if (chosen !== null) return isNew ? answers.load({ keep: true }) : answers.show();
  bench.tell({ title: "Labels" });
  if (!names.length) {
    return app.notice(place, { title: "No column tells what the pictures are.", text: "Labels are a metadata column with a word for each image: from a table beside the pictures, from their folders, or added with “fpve label”." });
  }
  place.replaceChildren(el("div", { class: "notice" }, el("h2", { text: "Which column says what a picture is?" }),
    el("p", { text: "Each image is then classified by its nearest, and those are shown whose label they disagree with." }),
    el("div", { class: "chips" }, names.map((name) => button({ class: "button", text: name, onclick: () => app.state.set({ label: name }) })))));
}

function told(answer) {
  if (!answer) return bench.tell({ title: "Labels" });
  bench.tell({
    title: answer.total ? plural(answer.total, "label is in doubt", "labels are in doubt") : "Labels",
    about: answer.total ? "Their nearest are something else. A label in doubt is not always wrong: the picture decides. What is wrong is put right with “fpve label”." : "",
    notes: answer.notes, actions: answer.total > 0,
  });
}

function doubt(row) {
  const voters = row.neighbours, of = (name) => voters.filter((vote) => vote.label === name).length;
  return el("li", { class: "doubt" },
    pieces.make({ ...row.image, rank: row.rank }, { onclick: () => app.openImage(row.image.image_id, { among: answers.shown.map((one) => one.image.image_id) }) }),
    el("div", { class: "doubt-words" },
      el("h2", {}, el("span", { class: "soft", text: "labelled " }), bdi(valueText(row.label), { class: "is-own" }),
        el("span", { class: "soft", text: ", looks like " }), bdi(valueText(row.prediction), { class: "is-other" })),
      el("div", { class: "shares" }, share(row.prediction, row.confidence, "is-other"), share(row.label, row.label_probability, "is-own")),
      voters.length > 0 && el("p", { class: "soft", text: `Of the ${voters.length} nearest ${of(row.prediction)} say ${valueText(row.prediction)}, ${of(row.label) || "none"} ${valueText(row.label)}.` }),
      el("ol", { class: "voters" }, voters.map((vote) => voter(row, vote)))));
}

function share(name, value, kind) {
  const bar = el("i", { style: { width: `${100 * (value ?? 0)}%` } });
  return [bdi(valueText(name), { class: "share-name", title: valueText(name) }), el("span", { class: ["share", kind], "aria-hidden": "true" }, bar), el("b", { text: value === null ? "–" : percent(value) })];
}

function voter(row, vote) {
  const side = vote.label === row.label ? "is-own" : vote.label === row.prediction ? "is-other" : null;
  const said = valueText(vote.label);
  return el("li", {}, el("a", {
    class: ["voter", side], href: app.state.url({ image: vote.image_id }), title: `${said}, score ${vote.score.toFixed(3)}: ${vote.image_id}`,
    onclick: (event) => { event.preventDefault(); app.openImage(vote.image_id); },
  }, vote.thumbnail ? el("img", { src: vote.thumbnail, alt: nameOf({ path: vote.image_id, image_id: vote.image_id }), loading: "lazy", decoding: "async" }) : icon("picture"), bdi(said)));
}
