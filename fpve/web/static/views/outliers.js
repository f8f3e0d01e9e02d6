// Pictures that are unlike all others, the oddest first, each with the one that is most like it.

import { bdi, el } from "../dom.js";
import { nameOf, plural, score, shares } from "../words.js";
import { Answers } from "./answers.js";
import { acting, Bench, Slide } from "./bench.js";
import { Pieces } from "./pieces.js";

// What the library takes where nothing is said.
const CUT = 3.5;
const PAGE = 60;
// So far above the median are a few of a hundred, where distances spread as they mostly do.
const ODD = 2;

let app, bench, slide, answers, pieces, state;

const view = {
  name: "outliers",
  title: "Outliers",
  weighed: true,
  usual: 1,
  show(root, given) {
    if (!bench) build(root, given);
    slide.value = cut();
    answers.show();
    answers.come();
  },
  update(_, changed) {
    slide.value = cut();
    if (changed.has("snapshot")) answers.load({ keep: true });
    else answers.show();
  },
  hide: () => answers.leave(),
};
export default view;

const cut = () => Number(state.get("cut") ?? CUT);

function build(root, given) {
  app = given;
  state = app.state;
  slide = new Slide({
    label: "Odd from z-score", about: "How many robust standard deviations above the median distance",
    min: 1, max: 10, step: 0.25, says: (value) => value.toFixed(2),
    onchange: (value) => state.set({ cut: value === CUT ? null : String(value) }),
  });
  const place = el("div", { class: "bench-place" });
  pieces = new Pieces(app, place);
  answers = new Answers(app, place, {
    path: "/api/outliers", working: "Looking how far each picture is from those nearest to it.", size: PAGE,
    params: () => ({ ...app.conditions(), cut: cut() === CUT ? null : cut(), image_weight: app.weight() }),
    items: (answer) => answer.rows, total: (answer) => answer.total,
    list: () => el("ol", { class: "odd", "aria-label": "Outliers, the oddest first" }), make: odd, told,
    empty: () => ({
      title: "Nothing is out of place.", icon: "check",
      text: `No picture is farther from its nearest than is usual here: no z-score reaches ${cut()}.`,
      action: cut() > ODD ? { text: "Show the oddest there are", onclick: () => state.set({ cut: String(ODD) }) } : null,
    }),
  });
  const actions = acting(app, {
    select: "Select all outliers", name: "The outliers, as a table",
    ids: async () => (await answers.all()).map((row) => row.image.image_id),
  });
  bench = new Bench({ controls: [slide.element], actions });
  root.replaceChildren(bench.element, place);
}

function told(answer) {
  if (!answer) return bench.tell({ title: "Outliers" });
  bench.tell({
    title: answer.total ? plural(answer.total, "outlier") : "Outliers",
    about: answer.total ? `Broken or blank, in the wrong collection, or the only one of its kind. ${compared()} Beside each is the one that is most like it.` : "",
    notes: answer.notes, actions: answer.total > 0,
  });
}

/** By what they were compared: unless somebody weighs them, by pictures alone. */
function compared() {
  const weight = app.weight() ?? view.usual;
  if (weight < 1) return `Of the likeness ${shares(weight)}.`;
  return app.status?.has_prefixes ? "Pictures alone are compared; the slider above lets texts count as well." : "";
}

function odd(row) {
  const nearest = row.nearest_image;
  return el("li", {},
    pieces.make({ ...row.image, rank: row.rank }, { onclick: () => app.openImage(row.image.image_id, { among: answers.shown.map((one) => one.image.image_id) }) }),
    el("div", { class: "odd-words" },
      el("p", { class: "odd-scores" },
        el("span", { title: "robust standard deviations above the median distance" }, "z ", el("b", { text: row.z.toFixed(1) })),
        el("span", { title: "1 less the mean score of its nearest", text: `distance ${score(row.distance)}` })),
      row.nearest && el("a", {
        class: "nearest", href: app.state.url({ image: row.nearest }), title: nearest ? nameOf(nearest) : row.nearest,
        onclick: (event) => { event.preventDefault(); app.openImage(row.nearest); },
      }, el("span", { text: "nearest" }), nearest?.thumbnail
        ? el("img", { src: nearest.thumbnail, alt: nameOf(nearest), loading: "lazy", decoding: "async" }) : bdi(row.nearest))));
}
