// The page: its views, and what it offers them.
//
// A view is a module whose default is {name, title, show(root, app), update(app, changed), hide()}:
//   name      what `view=` says in the address
//   title     of its tab
//   filtered  false where filters and the WHERE box mean nothing to it: the sidebar is then away (default: true)
//   weighed   true where it uses the weight without a query: the slider then works there, and tells when it is let go
//   show      called whenever the tab is opened; `root` is the view's own <section>, left as the view left it
//   update    called while it is shown, with a Set of what changed: names of state, and "snapshot" (load again, keep the
//             place), "reached" (the server is back), "theme" (colours are others), "status" (it was not there before)
//   hide      called when another tab is opened: abort requests
//
// `app` has:
//   state       get(name), set({name: value}, {replace}), url(changes), subscribe(fn): see state.js. A view may keep values
//               of its own there; names that views share: view q like picture weight where filters sort image label size
//               color method
//   api         get(path, params, {signal}), post(path, body), poll(path, params, {signal, onprogress}), file(path, body),
//               channel() whose newest request aborts the one before: see api.js. Errors: ApiError {message, status};
//               isAbort(error) is exported there
//   status      the last /api/status, or null before the first
//   conditions()         {where, filters} as parameters of requests
//   query()              {text, id, picture, image_weight} as parameters of /api/search, or null where nothing is asked
//   weight()             the weight of the address, or null for the store's default
//   openImage(id, {among})   open the detail panel; `among` is what previous and next go through, an array of ids
//   like(id)             search for what is like an image, in the gallery
//   selection            ids that are selected: has, add, remove, toggle, replace, clear, size, ids, subscribe
//   tile(row, {badge, scores, onclick})   a tile like those of the grid; by default a click opens the image
//   facets               set(column, values or {min, max} or null), toggle(column, value), clear()
//   where(sql)           put a condition into the WHERE box
//   notice(root, {title, text, icon, error, action})   fill a view that has nothing to show
//   working(root, text)  fill a view that computes; returns report({done, total})
//   toast(text, {kind, action}), say(text)    a short notice; a line for screen readers only
//   colour(name)         a colour token as the canvas needs it
//   exporting(body)      download what POST /api/export makes of `body`, told by toasts

import { Api, isAbort } from "./api.js";
import { button, el, find, icon } from "./dom.js";
import { Selection } from "./selection.js";
import { State } from "./state.js";
import * as theme from "./theme.js";
import { standing } from "./tile.js";
import { say, toast } from "./toasts.js";
import duplicates from "./views/duplicates.js";
import gallery from "./views/gallery.js";
import labels from "./views/labels.js";
import map from "./views/map.js";
import outliers from "./views/outliers.js";
import quarantine from "./views/quarantine.js";
import runs from "./views/runs.js";

const VIEWS = [gallery, map, duplicates, outliers, labels, quarantine, runs];
// How often a new snapshot is asked for while the page is seen.
const STATUS_EVERY = 10_000;

const state = new State();
const api = new Api();
const app = {
  state,
  api,
  status: null,
  selection: new Selection(),
  toast,
  say,
  colour: theme.colour,
  weight: () => state.get("weight"),
  conditions: () => ({ where: state.get("where"), filters: state.get("filters") }),
  query() {
    const text = state.get("q"), id = state.get("like"), picture = state.get("picture");
    if (text === null && id === null && picture === null) return null;
    const both = id !== null || (text !== null && picture !== null);
    return { text: id === null ? text : null, id, picture: id === null ? picture : null, image_weight: both ? state.get("weight") : null };
  },
  openImage: (id) => state.set({ image: id }),
  like: (id) => state.set({ view: null, like: id, q: null, picture: null, image: null }),
  tile: (row, given = {}) => standing(row, { href: state.url({ image: row.image_id }), onclick: () => app.openImage(row.image_id), ...given }),
  facets: {
    set(column, wanted) {
      const filters = { ...state.get("filters") };
      if (wanted === null || (Array.isArray(wanted) && !wanted.length)) delete filters[column];
      else filters[column] = wanted;
      state.set({ filters });
    },
    toggle(column, value) {
      const chosen = state.get("filters")?.[column] ?? [];
      app.facets.set(column, chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]);
    },
    clear: () => state.set({ filters: null, where: null }),
  },
  where: (sql) => state.set({ where: sql }),
  notice(root, { title, text = null, icon: symbol = null, error = false, action = null }) {
    root.replaceChildren(el("div", { class: ["notice", error && "is-error"] }, symbol && icon(symbol), el("h2", { text: title }),
      text && el("p", { text, dir: "auto" }), action && button({ class: "button", ...action })));
    if (error) say(`${title} ${text ?? ""}`, { urgent: true });
  },
  working(root, text) {
    const bar = el("i"), line = el("p", { text }), track = el("div", { class: "progress is-unknown" }, bar);
    root.replaceChildren(el("div", { class: "notice" }, track, line));
    return ({ done, total }) => {
      track.classList.toggle("is-unknown", !total);
      bar.style.width = total ? `${100 * done / total}%` : "";
      line.textContent = total ? `${text} ${Math.floor(100 * done / total)} %` : text;
    };
  },
  exporting: () => toast("Export is not there yet."),
};

const roots = new Map(VIEWS.map((view) => [view, el("section", { id: `view-${view.name}`, class: "view", "aria-label": view.title, hidden: true })]));
let shown = null;

function show() {
  const next = VIEWS.find((view) => view.name === state.get("view")) ?? gallery;
  if (next === shown) return false;
  shown?.hide();
  shown = next;
  for (const [view, root] of roots) root.hidden = view !== next;
  for (const tab of find("tabs").children) tab.toggleAttribute("aria-current", tab.dataset.view === next.name);
  find("sidebar").hidden = next.filtered === false;
  next.show(roots.get(next), app);
  return true;
}

async function refreshStatus() {
  try {
    const before = app.status;
    app.status = await api.get("/api/status");
    find("store").textContent = app.status.name;
    if (!before) shown.update(app, new Set(["status"]));
    else if (before.snapshot !== app.status.snapshot) shown.update(app, new Set(["snapshot"]));
  } catch (error) {
    if (!isAbort(error)) toast(error.message, { kind: "error" });
  }
}

find("main").append(...roots.values());
for (const view of VIEWS) find("tabs").append(el("a", { href: state.url({ view: view.name }), "data-view": view.name, text: view.title,
  onclick: (event) => { event.preventDefault(); state.set({ view: view.name }); } }));
state.subscribe((changed) => show() || shown.update(app, changed));
theme.subscribe(() => shown.update(app, new Set(["theme"])));
show();
refreshStatus();
setInterval(() => document.visibilityState === "visible" && refreshStatus(), STATUS_EVERY);
