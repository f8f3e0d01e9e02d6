// The frame: tabs, which view is shown, the sidebar's place, the theme, the name of the store.

import { button, el, find, icon } from "./dom.js";
import { showHelp } from "./help.js";
import * as theme from "./theme.js";
import { count, plural } from "./words.js";

// As in css/frame.css: where filters are a sheet, and where an image lies over the view.
const sheet = matchMedia("(max-width: 58rem)");
const narrow = matchMedia("(max-width: 72rem)");
const THEMES = { auto: "as the system has it", light: "light", dark: "dark" };

export class Frame {
  #app;
  #views;
  #roots;
  #isWithout = false;
  view = null;

  constructor(app, views) {
    this.#app = app;
    this.#views = views;
    this.#roots = new Map(
      views.map((view) => [
        view,
        el("section", { id: `view-${view.name}`, class: "view", "aria-label": view.title, hidden: true }),
      ]),
    );
    find("main").append(...this.#roots.values());
    this.filters = button({
      class: "plain filters",
      icon: "filter",
      text: "Filters",
      "aria-controls": "sidebar",
      onclick: () => this.toggleFilters(),
    });
    this.filterCount = el("span", { class: "count", hidden: true });
    this.filters.append(this.filterCount);
    this.tabs = new Map(views.map((view) => [view, this.#tab(view)]));
    find("tabs").append(this.filters, ...this.tabs.values());
    find("tabs").addEventListener("scroll", () => this.#fade(), { passive: true });
    addEventListener("resize", () => this.#fade());
    this.theme = button({ class: "plain", icon: theme.current(), onclick: () => theme.choose(theme.nextTheme()) });
    this.theme.dataset.tipAt = "left";
    theme.subscribe(() => this.#tellTheme());
    this.#tellTheme();
    find("tools").append(
      this.theme,
      button({ class: "plain", icon: "help", label: "Keyboard", "data-tip-at": "left", onclick: showHelp }),
    );
    find("frame").addEventListener("click", (event) => {
      if (event.target === find("frame")) this.closeFilters();
    });
    sheet.addEventListener("change", () => this.#arrange());
  }

  /** Show the view that the address names; whether it is another one. */
  show() {
    const { state } = this.#app;
    const next = this.#views.find((view) => view.name === state.get("view")) ?? this.#views[0];
    for (const [view, tab] of this.tabs) tab.href = state.url({ view: view.name, image: null });
    const number = Object.keys(state.get("filters") ?? {}).length + (state.get("where") ? 1 : 0);
    this.filterCount.hidden = !number;
    this.filterCount.replaceChildren(String(number), el("span", { class: "visually-hidden", text: " in use" }));
    if (next === this.view) return false;
    this.view?.hide();
    this.view = next;
    for (const [view, root] of this.#roots) root.hidden = view !== next;
    for (const [view, tab] of this.tabs) {
      if (view === next) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    if (next !== this.#views[0]) this.tabs.get(next).scrollIntoView({ block: "nearest", inline: "nearest" });
    document.body.classList.remove("is-filtering");
    this.#arrange();
    next.show(this.#roots.get(next), this.#app);
    return true;
  }

  /** The figures of the store are known, or others. */
  tell() {
    const { status } = this.#app;
    document.title = `${status.name}: fpve`;
    const images = plural(status.images, "image");
    const collections = status.collections.length > 1 ? ` in ${plural(status.collections.length, "collection")}` : "";
    find("store").replaceChildren(el("bdi", { text: status.name }), el("span", { text: images }));
    find("store").title = `${status.store}: ${images}${collections}, snapshot ${status.snapshot}`;
    this.tabs.forEach((tab, view) => {
      const number = view.name === "quarantine" ? status.quarantined : (view.count?.(status) ?? null);
      tab.replaceChildren(named(view.title), ...(number ? [el("span", { class: "count", text: count(number) })] : []));
    });
    this.#fade();
  }

  toggleFilters() {
    if (this.view.filtered === false) return;
    if (sheet.matches) {
      const open = document.body.classList.toggle("is-filtering");
      if (open) find("sidebar").querySelector("input, textarea, button")?.focus({ preventScroll: true });
    } else this.#isWithout = !this.#isWithout;
    this.#arrange();
  }

  /** Close the sheet of filters; whether it was open. */
  closeFilters() {
    const was = document.body.classList.contains("is-filtering");
    document.body.classList.remove("is-filtering");
    if (was) this.filters.focus();
    this.#arrange();
    return was;
  }

  /** Whether the filters are seen. */
  showsFilters() {
    return this.filters.ariaExpanded === "true" && this.view.filtered !== false;
  }

  /** Whether an image and the view fit beside each other. */
  isRoomy() {
    return !narrow.matches;
  }

  #arrange() {
    const without = this.view.filtered === false || (!sheet.matches && this.#isWithout);
    document.body.classList.toggle("is-without-sidebar", without);
    // It stays where it is, so that tabs do, too.
    this.filters.disabled = this.view.filtered === false;
    this.filters.setAttribute(
      "aria-expanded",
      sheet.matches ? document.body.classList.contains("is-filtering") : !without,
    );
  }

  // Where tabs go on beyond an edge they fade.
  #fade() {
    const tabs = find("tabs");
    tabs.classList.toggle("is-cut", tabs.scrollWidth - tabs.clientWidth - tabs.scrollLeft > 1);
  }

  #tab(view) {
    const onclick = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.#app.state.set({ view: view.name, image: null });
    };
    return el("a", { href: "?", onclick }, named(view.title));
  }

  #tellTheme() {
    const label = `Theme: ${THEMES[theme.current()]}`;
    this.theme.replaceChildren(icon(theme.current()));
    this.theme.setAttribute("aria-label", label);
    this.theme.dataset.tip = label;
  }
}

/** The title of a tab, which takes as much room as it does in bold. */
const named = (title) => el("span", { class: "tab-name", text: title, data: { text: title } });
