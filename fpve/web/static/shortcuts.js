// Keys that work wherever the focus is, unless something is being written.

import { showHelp } from "./help.js";

/** `tabs` are the names of views in their order. */
export function addShortcuts(app, tabs) {
  addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (
      event.defaultPrevented ||
      event.altKey ||
      event.ctrlKey ||
      event.metaKey ||
      document.querySelector(":modal, :popover-open")
    )
      return;
    if (key === "Escape") return void (app.closeTop() && event.preventDefault());
    if (target.closest("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]")) return;
    const done =
      {
        "/": () => app.focusSearch(),
        "?": showHelp,
        f: () => app.toggleFilters(),
        l: () => app.likeCurrent(),
        "[": () => app.nudgeWeight(1),
        "]": () => app.nudgeWeight(-1),
      }[key] ??
      (/^[1-9]$/.test(key) && tabs[key - 1] && (() => app.state.set({ view: tabs[key - 1] })));
    if (!done) return;
    event.preventDefault();
    done();
  });
}
