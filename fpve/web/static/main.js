// The page: its views, and what it offers them.
//
// A view is a module whose default is {name, title, show(root, app), update(app, changed), hide()}:
//   name      what `view=` says in the address
//   title     of its tab
//   filtered  false where filters and the WHERE box mean nothing to it: the sidebar is then away (default: true)
//   weighed   true where it uses the weight without a query: the slider then works there, and tells when it is let go
//   usual     the weight that it uses where nobody has chosen one, if that is not the store's; optional
//   asked     true where it shows hits: a search that is begun there stays there, others go to the gallery
//   count     (status) => a number beside the tab's title, or null; optional
//   show      called whenever the tab is opened; `root` is the view's own <section>, left as the view left it
//   update    called while it is shown, with a Set of what changed: names of state, and "snapshot" (load again, keep the
//             place), "reached" (the server is back), "theme" (colours are others), "status" (it was not there before)
//   hide      called when another tab is opened: abort requests
//
// `app` has:
//   state       get(name), set({name: value}, {replace}), url(changes), subscribe(fn): see state.js. A view may keep values
//               of its own there; names that views share: view q like picture weight where filters sort image label size
//               color method only selected
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
//   refusal(error, notice)  what a notice says after an error; of a server that is gone, or a wrong condition, just that
//   working(root, text)  fill a view that computes; returns report(what the server tells of it)
//   toast(text, {kind, action}), say(text)    a short notice; a line for screen readers only
//   colour(name)         a colour token as the canvas needs it
//   copy(text)           put a text on the clipboard, told by a toast
//   keepExport(body)     download what POST /api/export makes of `body`, told by toasts

import { Api } from "./api.js";
import { acceptPictures, Question } from "./ask/question.js";
import { Weight } from "./ask/weight.js";
import { Detail } from "./detail/detail.js";
import { find } from "./dom.js";
import { keepExport } from "./exporting.js";
import { Frame } from "./frame.js";
import { notice, refusal, working } from "./notices.js";
import { mountSelected } from "./selected.js";
import { keepInAddress, Selection } from "./selection.js";
import { addShortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar/sidebar.js";
import { State } from "./state.js";
import { Standing } from "./standing.js";
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

const state = new State();
const api = new Api();
const standingOf = new Standing(api);
const app = {
  state,
  api,
  get status() {
    return standingOf.status;
  },
  selection: new Selection(),
  toast,
  say,
  notice,
  refusal: (error, given) => refusal(app, error, given),
  working,
  colour: theme.colour,
  keepExport: (body) => keepExport(app, body),
  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      toast("Copied.");
    } catch {
      // Browsers give the clipboard to pages of this machine or over HTTPS only.
      toast("The browser doesn't let this page copy. Select the text by hand.", { kind: "error" });
    }
  },
  weight: () => state.get("weight"),
  conditions: () => ({ where: state.get("where"), filters: state.get("filters") }),
  query() {
    const text = state.get("q");
    const id = state.get("like");
    const picture = id === null ? state.get("picture") : null;
    if (text === null && id === null && picture === null) return null;
    // Of a query with one side there is nothing to weigh, and the server refuses to.
    const both = id !== null || (text !== null && picture !== null);
    return { text: id === null ? text : null, id, picture, image_weight: both ? state.get("weight") : null };
  },
  openImage(id, { among = null, replace = false } = {}) {
    app.among = Array.isArray(among)
      ? { indexOf: (one) => among.indexOf(one), total: () => among.length, at: (index) => among[index] ?? null }
      : among;
    state.set({ image: id }, { replace });
  },
  like(id) {
    // Beside the panel there is room for what is found; over it there is none.
    state.set({ view: null, like: id, q: null, picture: null, image: frame.isRoomy() ? state.get("image") : null });
  },
  tile: (row, given = {}) =>
    standing(row, { href: state.url({ image: row.image_id }), onclick: () => app.openImage(row.image_id), ...given }),
  facets: {
    set(column, wanted) {
      const filters = { ...state.get("filters") };
      if (wanted === null || (Array.isArray(wanted) && !wanted.length)) delete filters[column];
      else filters[column] = wanted;
      state.set({ filters });
    },
    toggle(column, value) {
      const chosen = state.get("filters")?.[column];
      const values = Array.isArray(chosen) ? chosen : [];
      app.facets.set(column, values.includes(value) ? values.filter((one) => one !== value) : [...values, value]);
    },
    clear: () => state.set({ filters: null, where: null }),
  },
  where: (sql) => state.set({ where: sql }),

  // What the parts of the page want of each other.
  among: null,
  sequence: () => app.among ?? gallery.sequence(),
  rowOf: gallery.rowOf,
  reveal: gallery.reveal,
  condition: () => sidebar.combined,
  filteredColumns: () => sidebar.columns,
  counted: () => detail.update(new Set(["facets"])),
  closeImage: () => state.set({ image: null }),
  viewForHits: () => (app.showsHits() ? state.get("view") : null),
  isWeighed: () => frame.view?.weighed === true,
  usualWeight: () => frame.view?.usual ?? app.status?.image_weight ?? 0.5,
  showsFilters: () => frame.showsFilters(),
  showsHits: () => frame.view?.asked === true,
  answered(answer) {
    weight.answered(answer?.image_weight ?? null);
    detail.update(new Set(["rows"]));
  },
  showAll: () => state.set({ q: null, like: null, picture: null, where: null, filters: null, sort: null }),
  showSelected: (on) => state.set(on ? { only: "1", view: null } : { only: null }),
  onlySelected: () => state.get("only") !== null && app.selection.size > 0,
  enterGrid: gallery.enter,
  focusSearch: () => question.focus(),
  toggleFilters: () => frame.toggleFilters(),
  likeCurrent() {
    const id = gallery.focusedId() ?? state.get("image");
    if (id !== null) app.like(id);
  },
  nudgeWeight: (direction) => weight.nudge(direction),
  closeTop() {
    if (frame.closeFilters()) return true;
    if (state.get("image") !== null) state.set({ image: null });
    else if (app.selection.size) app.selection.clear();
    else return false;
    return true;
  },
};

keepInAddress(app.selection, state);
const frame = new Frame(app, VIEWS);
const question = new Question(app, find("ask"));
const weight = new Weight(app, find("weight"));
const sidebar = new Sidebar(app, find("sidebar"));
const detail = new Detail(app, find("detail"));
const updateSelected = mountSelected(app);
acceptPictures(question, app);
addShortcuts(
  app,
  VIEWS.map((view) => view.name),
);

state.subscribe((changed, how) => {
  question.update(how);
  const isOther = frame.show();
  weight.update();
  if (!isOther) frame.view.update(app, changed, how);
  sidebar.update(changed);
  detail.update(changed);
  updateSelected();
});
standingOf.subscribe((what) => {
  frame.tell();
  question.update();
  weight.update();
  const changed = new Set([what]);
  frame.view.update(app, changed);
  sidebar.update(changed);
  detail.update(changed);
});
theme.subscribe(() => frame.view.update(app, new Set(["theme"])));

// The first rows are asked for before anything else is; figures and filters come when they come.
frame.show();
weight.update();
standingOf.begin();
detail.update(new Set(["image"]));
