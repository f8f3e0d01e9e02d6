// All images in a plane, by what a search compares: what is alike is near.

import { TONES } from "../plot.js";
import { isAbort } from "../api.js";
import { button, el } from "../dom.js";
import { Progress } from "../progress.js";
import { count, plural, shares } from "../words.js";
import { Choice } from "./bench.js";
import { likelyLabel } from "./columns.js";
import { MapCard } from "./map-card.js";
import { MapTools } from "./map-tools.js";
import { arranged, Scatter } from "./scatter.js";

const METHODS = [["pca", "PCA"], ["umap", "UMAP"]];
// What `color=` says where points are to have one colour: no name of a column is only this.
const PLAIN = "-";
// Of what is asked for a twentieth of the images is shown as found, but no fewer and no more than so many.
const LEAST_HITS = 20, MOST_HITS = 200;
// Milliseconds after a movement until the address says where the map is.
const STILL = 400;

let app, state, bar, words, field, holder, legend, tools, card, wait, progress, methods, colours, hitsButton;
let places, searches, scatter = null, shown = null, pictureless = new Set(), timer = 0, isShown = false;

const view = {
  name: "map",
  title: "Map",
  weighed: true,
  asked: true,
  show(root, given) {
    if (!field) build(root, given);
    isShown = true;
    load();
  },
  update(_, changed) {
    if (changed.has("theme")) scatter?.recolour();
    if (changed.has("snapshot")) card.forget();
    if (changed.has("image")) mark();
    if (changed.has("at") && scatter && state.get("at") !== scatter.place) scatter.goTo(state.get("at"));
    load();
    if (["q", "like", "picture", "weight", "where", "filters"].some((name) => changed.has(name))) find();
  },
  hide() {
    isShown = false;
    clearTimeout(timer);
    card.hide();
  },
};
export default view;

function build(root, given) {
  app = given;
  state = app.state;
  places = app.api.channel();
  searches = app.api.channel();
  words = el("div", { class: "map-words" });
  methods = el("div", { class: "segments", role: "group", "aria-label": "Method" }, METHODS.map(([method, text]) => el("button", {
    type: "button", text, data: { method }, onclick: () => state.set({ method: method === "pca" ? null : method, at: null }),
  })));
  colours = new Choice({ label: "Colour", onchange: (column) => state.set({ color: column }) });
  hitsButton = button({ class: "reason", text: "", hidden: true, "aria-pressed": "true", onclick: () => {
    const isOn = hitsButton.ariaPressed !== "true";
    hitsButton.setAttribute("aria-pressed", String(isOn));
    scatter?.match(isOn ? hitsButton.ids : null);
  } });
  bar = el("header", { class: "map-bar" }, words, hitsButton, methods, colours.element);
  holder = el("div", { class: "map-holder" });
  legend = el("aside", { class: "map-legend", "aria-label": "Legend", hidden: true });
  card = new MapCard(app);
  progress = new Progress();
  wait = el("div", { class: "map-wait", hidden: true }, progress.track, progress.line);
  tools = new MapTools(app, { scatter: () => scatter, take });
  field = el("div", { class: "map-field" }, holder, wait, legend, tools.element, card.element);
  root.replaceChildren(bar, field);
  app.selection.subscribe(() => scatter?.select(app.selection.ids));
}

const color = () => state.get("color") ?? likelyLabel(app.status) ?? ((app.status?.collections.length ?? 0) > 1 ? "collection" : PLAIN);

function asked() {
  const by = color();
  return { ...app.conditions(), method: state.get("method"), image_weight: app.weight(), color: by === PLAIN ? null : by };
}

/** What a map is of: with another one its points are elsewhere. */
const placed = ({ color: _, ...params }) => JSON.stringify([params, app.status?.snapshot ?? null]);

async function load() {
  if (!app.status) return;
  const params = asked(), key = JSON.stringify([placed(params), params.color]);
  control();
  if (key === shown) return;
  shown = key;
  try {
    const [answer] = await Promise.all([places.poll("/api/map", params, { onprogress: waiting }), learnPictures()]);
    waited();
    draw(answer, params);
  } catch (error) {
    if (isAbort(error)) return;
    waited();
    shown = null;
    refused(error);
  }
}

function control() {
  for (const one of methods.children) one.setAttribute("aria-pressed", String(one.dataset.method === (state.get("method") ?? "pca")));
  const names = app.status.columns.map((column) => column.name), own = app.status.collections.length > 1 ? ["collection"] : [];
  colours.fill([[PLAIN, "none"], ...[...own, ...names, "width", "height", "bytes"].map((name) => [name, name])], color());
}

/** The map that was shown stays; where there is none, what is waited for is in its place. */
function waiting(told) {
  const slow = state.get("method") === "umap" ? " UMAP takes a minute or two for 100,000." : "";
  progress.begin(`Placing the images.${slow}`);
  progress.tell(told);
  wait.hidden = false;
  wait.classList.toggle("notice", scatter === null);
  if (scatter === null) holder.replaceChildren();
}

function waited() {
  progress.end();
  wait.hidden = true;
}

/** Which images have no picture to show: they are not asked for one. */
async function learnPictures() {
  const { snapshot } = app.status;
  if (pictureless.snapshot === snapshot) return;
  const [{ images }, { rows }] = await Promise.all([
    app.api.get("/api/images", { limit: 20 }),
    app.api.post("/api/sql", { query: "SELECT image_id FROM images WHERE width IS NULL OR content_hash IS NULL", limit: 10_000 }),
  ]);
  pictureless = new Set(rows.map(([id]) => id));
  // A store that keeps no thumbnails has none of any image.
  pictureless.every = images.length > 0 && images.every((row) => row.thumbnail === null);
  pictureless.snapshot = snapshot;
}

function refused(error) {
  end();
  words.replaceChildren();
  const isUmap = state.get("method") === "umap";
  app.notice(holder, app.refusal(error, { title: "There is no such map.",
    action: isUmap ? { text: "Place them by PCA", onclick: () => state.set({ method: null }) } : { text: "Try again", onclick: load } }));
}

function end() {
  scatter?.end();
  scatter = null;
  tools.element.hidden = legend.hidden = true;
  card.hide();
}

function draw(answer, params) {
  app.answered?.(answer);
  const ids = answer.image_id, before = scatter, isSame = before?.placed === placed(params), hadFocus = document.activeElement === before?.canvas;
  if (!ids.length) {
    end();
    words.replaceChildren();
    return app.notice(holder, { title: "No image is left.", text: "The filters leave nothing to place.", icon: "filter", action: { text: "Clear the filters", onclick: app.facets.clear } });
  }
  const found = { ids, xy: arranged(answer, holder.getBoundingClientRect(), before), by: colouring(answer.color, ids.length), hasPicture: (i) => !pictureless.every && !pictureless.has(ids[i]) };
  const label = `Map of ${plural(ids.length, "image")}${answer.color ? `, coloured by ${answer.color.column}` : ""}`;
  const next = new Scatter(app, found, { onhover: hover, onopen: open, onlasso: lasso, onview: moved, onlegend: (number) => app.say(`${count(number)} of ${plural(ids.length, "image")} are shown`) }, label);
  next.placed = placed(params);
  next.column = answer.color?.column ?? null;
  next.hasLegend = next.column !== null;
  if (isSame) next.beginLike(before);
  else if (before) next.travel(before);
  else next.goTo(state.get("at"));
  before?.end();
  scatter = next;
  holder.replaceChildren(next.element);
  next.resize();
  if (hadFocus) next.canvas.focus();
  tell(answer);
  showLegend();
  tools.update();
  next.select(app.selection.ids);
  mark();
  find();
}

function colouring(by, n) {
  const classes = TONES.light.length;
  if (!by) return { kind: "classes", names: ["images"], codes: new Int32Array(n), values: new Float64Array(0), classes };
  return { kind: by.kind, names: by.names ?? [], codes: by.codes ?? [], values: Float64Array.from(by.values ?? [], (value) => value ?? NaN), classes };
}

function tell({ image_id: ids, method, share, image_weight: weight }) {
  const how = method === "umap" ? "placed by UMAP" : `placed by principal components${share === null ? "" : `, which show ${Math.round(100 * share)} % of the variance`}`;
  app.say(`${plural(ids.length, "image")} on the map`);
  words.replaceChildren(el("h1", { text: plural(ids.length, "image") }), el("span", { text: how }));
  words.title = `Of the likeness ${shares(weight)}. What is alike is near; how far apart groups are means ${method === "umap" ? "little" : "something along these two directions only"}.`;
}

function showLegend() {
  legend.hidden = scatter.column === null;
  if (legend.hidden) return;
  const isOpen = legend.classList.contains("is-open") || !legend.firstChild && field.clientWidth > 600;
  const fold = button({ class: "plain", icon: "down", label: "Legend", "aria-expanded": String(isOpen), onclick: () => {
    fold.setAttribute("aria-expanded", String(legend.classList.toggle("is-open")));
  } });
  fold.removeAttribute("data-tip");
  legend.classList.toggle("is-open", isOpen);
  const every = (text, isOff) => el("button", { type: "button", class: "link", text, onclick: () => scatter.legend.every(isOff) });
  legend.replaceChildren(el("header", {}, el("h2", { dir: "auto", text: scatter.column, title: scatter.column }), every("all", false), every("none", true), fold),
    el("div", { class: "map-entries" }, scatter.legendElements));
}

function hover(i, x, y) {
  if (i < 0) return card.hide();
  const id = scatter.ids[i], { legend: by } = scatter;
  if (card.id !== id) card.show(id, scatter.column && { column: scatter.column, text: by.textOf(i), tone: by.toneOf(i) }, scatter.plot.hasPicture(i));
  scatter.camera.beside(card.element, x, y);
}

function open(i) {
  if (i < 0) return;
  card.hide();
  // Previous and next go to what is near, and then farther.
  const { plot, ids } = scatter, near = plot.nearest(plot.xy[2 * i], plot.xy[2 * i + 1], 0.1 * plot.bounds.span, 60);
  app.openImage(ids[i], { among: near.map((j) => ids[j]) });
}

function mark() {
  if (!scatter) return;
  scatter.opened = scatter.numbers.get(state.get("image")) ?? -1;
  scatter.mark();
}

function moved() {
  clearTimeout(timer);
  timer = setTimeout(() => isShown && scatter && state.set({ at: scatter.place }, { replace: true }), STILL);
}

const lasso = ({ contains, adds }) => take(scatter.where(contains), adds);

/** Select what was drawn around, or is seen. */
function take(ids, adds) {
  if (adds) app.selection.add(ids);
  else app.selection.replace(ids);
  if (ids.length) app.say(`${plural(ids.length, "image")} selected`);
  else app.toast("No image is there.");
}

/** Show where on the map that is what is asked for. */
async function find() {
  const query = app.query();
  if (!query || !scatter) {
    searches.abort();
    hitsButton.hidden = true;
    scatter?.match(null);
    return;
  }
  const k = Math.max(LEAST_HITS, Math.min(MOST_HITS, Math.round(scatter.ids.length / 20)));
  try {
    const { hits } = await searches.get("/api/search", { ...query, ...app.conditions(), k });
    if (!scatter) return;
    hitsButton.ids = hits.map((hit) => hit.image_id);
    hitsButton.hidden = false;
    const number = scatter.match(hitsButton.ariaPressed === "true" ? hitsButton.ids : null);
    hitsButton.firstChild.textContent = `${count(Math.min(number, hits.length))} best hits of ${query.text === null ? "the picture" : `“${query.text}”`}`;
  } catch (error) {
    if (!isAbort(error)) hitsButton.hidden = true;
  }
}
