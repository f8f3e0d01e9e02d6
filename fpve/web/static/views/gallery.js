// The images themselves: all of them, those that a condition leaves, or what was found.

import { isAbort } from "../api.js";
import { el } from "../dom.js";
import { Grid } from "../gallery/grid.js";
import { addKeys } from "../gallery/keys.js";
import { Listing } from "../gallery/listing.js";
import { sourceOf } from "../gallery/sources.js";
import { SIZES, Toolbar } from "../gallery/toolbar.js";
import { addTouch } from "../gallery/touch.js";
import { ROWS } from "../state.js";
import { plural } from "../words.js";

// Where each list of rows was left, for "back": the last fifty lists.
const places = new Map();
const PLACES = 50;
const BUSY = 1500;
// Milliseconds after which one wonders what a search is waiting for.
const SLOW = 700;
const PLACE = "fpve.place";

// What is shown before anything is known: a screen of tiles without images.
const WAITING = { total: 60, get: () => null, indexOf: () => -1, want() {} };

let app;
let root;
let grid;
let toolbar;
let notice;
let wait;
let listing = null;
let source = null;
let loading = null;
let again = false;
let only = null;
let anchor = null;

export default {
  name: "gallery",
  title: "Gallery",
  asked: true,

  show(element, given) {
    if (!grid) build(element, given);
    const before = only;
    only = chosen();
    if (!listing && !loading) load({ at: (!only && places.get(sourceOf(app).key)) || 0 });
    else if (sourceOf(app, { only }).key !== source?.key || !isSame(only, before)) load({ at: 0 });
    else if (app.status && listing?.answer && listing.answer.snapshot !== app.status.snapshot) load({});
    else grid.resize();
  },

  update(_, changed, { moved = false } = {}) {
    if (changed.has("size")) grid.resize(sizeOf());
    if (["only", ...ROWS].some((name) => changed.has(name))) {
      only = chosen();
      const place = moved ? places.get(sourceOf(app, { only }).key) : 0;
      load({ at: place ?? 0, animate: true });
    } else if (changed.has("weight") && app.query()) load({ animate: true, gentle: true });
    else if (changed.has("snapshot") || changed.has("reached")) load({});
    if (changed.has("image")) markOpen();
    toolbar.update(listing, { only: only !== null });
  },

  hide() {},

  /** Give the focus to the grid. */
  enter: () => grid?.go(grid.active),
  /** Of the image that has the focus; null where none has. */
  focusedId: () => document.activeElement?.node?.tile.row?.image_id ?? null,
  /** The row of an image, if it is among those that are shown and there; else null. */
  rowOf: (id) => listing?.get(listing.indexOf(id)) ?? null,
  /** Bring an image into view, if it is among those that are shown. */
  reveal(id) {
    const at = listing?.indexOf(id) ?? -1;
    if (at >= 0) grid.go(at, { focus: false });
  },
  /** What previous and next go through. */
  sequence: () => listing && { indexOf: (id) => listing.indexOf(id), total: () => listing.total, at: idAt },
};

function build(element, given) {
  [root, app] = [element, given];
  keepPlace();
  toolbar = new Toolbar(app);
  notice = el("div", { class: "grid-notice", hidden: true });
  wait = el("p", { class: "grid-wait", hidden: true });
  grid = new Grid({
    isSelected: (id) => app.selection.has(id),
    onopen: open,
    onselect: select,
    onmove: (first) => {
      if (source && !loading) remember(source.key, first);
    },
  });
  addKeys(grid, { onselect: select, onopen: open, onall: selectAll });
  addTouch(grid, { onselect: select });
  grid.layer.addEventListener("focusin", followFocus);
  app.selection.subscribe(() => grid.mark());
  root.replaceChildren(toolbar.root, el("div", { class: "grid-holder" }, grid.element, notice, wait));
  toolbar.update(null);
  // Until the first rows are there, tiles wait for them.
  if (!listing) grid.show(WAITING, { size: sizeOf(), scored: app.query() !== null });
}

/** What is selected, where only that is to be shown; else null. An image that is then left out keeps its place. */
const chosen = () => (app.onlySelected() ? app.selection.ids : null);

const isSame = (ids, others) => ids?.length === others?.length && (ids ?? []).every((id, at) => id === others[at]);

const sizeOf = () => Math.max(SIZES.least, Math.min(SIZES.most, app.state.get("size") ?? SIZES.usual));

/**
 * Fetch rows, and show them when they are there: until then what was shown stays. `at` is the index to begin with, null
 * to stay at the place. Gentle ones, of a knob that moves, wait for the one before; others put an end to it.
 */
async function load({ at = null, animate = false, gentle = false }) {
  if (gentle && loading?.gentle) return void (again = true);
  loading?.listing.close();
  const next = sourceOf(app, { only });
  const mine = (loading = {
    gentle,
    listing: new Listing(next.fetchRows, { onrows: () => arrived(mine.listing), onerror: failed }),
  });
  root.classList.toggle("is-stale", !gentle && listing !== null);
  root.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => tellSlow(mine), SLOW);
  try {
    const [first, last] = at === null ? grid.seen : [at, at + 59];
    await mine.listing.load(first, Math.max(first, last));
    if (loading !== mine) return;
    loading = null;
    listing?.close();
    [listing, source] = [mine.listing, next];
    if (at !== null) anchor = null;
    showNotice(listing.total ? null : emptiness());
    grid.show(listing, { animate: animate && !!listing.total, at, size: sizeOf(), scored: next.isSearch });
    toolbar.update(listing, { only: only !== null });
    app.answered(listing.answer);
    markOpen();
  } catch (error) {
    if (loading !== mine) return;
    loading = null;
    if (!isAbort(error)) failed(error);
  } finally {
    clearTimeout(slow);
    if (!loading) {
      wait.hidden = true;
      root.classList.remove("is-stale");
      root.removeAttribute("aria-busy");
    }
  }
  if (again && !loading) {
    again = false;
    load({ animate: true, gentle: true });
  }
}

/** Say what a search waits for; it may be the first one of all, and come before its models. */
async function tellSlow(mine) {
  const query = app.query();
  if (!query) return;
  const { is_warm: isWarm } = await app.api.get("/api/status").catch(() => ({ is_warm: true }));
  if (loading !== mine) return;
  wait.textContent = isWarm
    ? "Searching…"
    : query.text === null
      ? "Loading the index…"
      : "Loading the text encoder…";
  wait.hidden = false;
  app.say(wait.textContent);
}

function arrived(from) {
  if (from !== listing) return;
  grid.render();
  markOpen();
}

function failed(error) {
  // When the server is back, main.js has the rows fetched again.
  if (error.status === 0 && listing) return;
  // Busy: rows that were scrolled to come a little later.
  if (error.status === 503 && listing?.failed) return void setTimeout(() => listing.retry(), BUSY);
  // What was shown is not what is asked for.
  listing?.close();
  listing = null;
  toolbar.update(null);
  if (error.status === 410) {
    showNotice({
      title: "This picture is no longer known",
      text: "The server keeps the last pictures in memory only. Drop it again, or choose it again.",
      icon: "picture",
      error: true,
      action: { text: "Search without it", onclick: () => app.state.set({ picture: null }) },
    });
  } else
    showNotice(
      app.refusal(error, {
        title: "This can't be shown",
        action: { text: "Show all images", onclick: () => app.showAll() },
      }),
    );
}

function emptiness() {
  const { where, filters } = app.conditions();
  if (where || filters)
    return {
      title: "No image meets these conditions",
      text: "Fewer filters leave more images.",
      icon: "filter",
      action: { text: "Clear the filters", onclick: () => app.facets.clear() },
    };
  if (app.query()) return { title: "Nothing was found", text: "There is nothing to compare it with.", icon: "search" };
  return {
    title: "This store has no images yet",
    text: "fpve run and fpve encode bring them in; they show up here by themselves.",
    icon: "picture",
  };
}

function showNotice(given) {
  notice.hidden = given === null;
  grid.element.hidden = given !== null;
  if (given) app.notice(notice, given);
}

// A reload comes back to where the grid was.
function keepPlace() {
  try {
    const [key, first] = JSON.parse(sessionStorage.getItem(PLACE)) ?? [];
    if (key && performance.getEntriesByType("navigation")[0]?.type === "reload") places.set(key, first);
    addEventListener(
      "pagehide",
      () => source && sessionStorage.setItem(PLACE, JSON.stringify([source.key, grid.seen[0]])),
    );
  } catch {
    // Storage is switched off: a reload begins at the top.
  }
}

function remember(key, first) {
  places.delete(key);
  places.set(key, first);
  if (places.size > PLACES) places.delete(places.keys().next().value);
}

function open(index) {
  const row = listing.get(index);
  if (row) app.openImage(row.image_id, { among: null });
}

// While an image is open, the one that has the focus is: arrows leaf through.
let following = 0;
function followFocus() {
  const id = app.state.get("image") === null ? null : document.activeElement?.node?.tile.row?.image_id;
  clearTimeout(following);
  if (id && id !== app.state.get("image"))
    following = setTimeout(() => app.state.get("image") !== null && app.openImage(id, { replace: true }), 120);
}

async function idAt(index) {
  if (index < 0 || index >= listing.total) return null;
  if (!listing.get(index)) await listing.load(index, index);
  return listing.get(index)?.image_id ?? null;
}

function markOpen() {
  const id = app.state.get("image");
  for (const tile of grid.layer.children)
    tile.classList.toggle("is-open", id !== null && tile.node.tile.row?.image_id === id);
}

/** Select by a click, or a range from where the last one was. */
async function select(index, { shiftKey, from = anchor }) {
  const id = listing.get(index)?.image_id;
  if (id === undefined) return;
  if (shiftKey && from !== null) {
    try {
      app.selection.add(await idsBetween(Math.min(from, index), Math.max(from, index)));
    } catch (error) {
      if (!isAbort(error)) app.toast(error.message, { kind: "error" });
    }
  } else app.selection.toggle(id);
  anchor = index;
}

// Of a long range some rows have not been fetched: the ids of images that are not ranked come without them.
async function idsBetween(first, last) {
  const known = listing.ids(first, last);
  if (known.length > last - first) return known;
  if (!source.isSearch && !only) return (await allIds()).slice(first, last + 1);
  await listing.load(first, last);
  return listing.ids(first, last);
}

async function allIds() {
  const sort = app.query() ? null : app.state.get("sort");
  return (await app.api.get("/api/ids", { ...app.conditions(), sort })).ids;
}

async function selectAll() {
  try {
    const ids = await allIds();
    app.selection.replace(ids);
    app.say(`${plural(ids.length, "image")} selected`);
  } catch (error) {
    app.toast(error.message, { kind: "error" });
  }
}
