// What the keys do, in a dialog.

import { button, el } from "./dom.js";

const KEYS = [
  ["Search", ["/"]],
  ["Help", ["?"]],
  ["Move in the grid", ["←", "↑", "↓", "→"]],
  ["Open the image", ["Enter"]],
  ["Close, or leave", ["Esc"]],
  ["Previous, next image", ["←", "→"]],
  ["More like this", ["l"]],
  ["Select", ["x"]],
  ["Select up to here", ["Shift", "↓"]],
  ["Select all that match", ["Ctrl", "a"]],
  ["More weight to picture, text", ["[", "]"]],
  ["Filters", ["f"]],
  ["First, last", ["Home", "End"]],
  ["Views", ["1", "…", "7"]],
  ["Map: zoom, show all", ["+", "-", "0"]],
  ["Map: lasso, all in view, pictures", ["s", "v", "p"]],
];

let dialog = null;

export function showHelp() {
  dialog ??= made();
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function made() {
  const close = button({
    class: "plain",
    icon: "cross",
    label: "Close",
    "data-tip": null,
    onclick: () => shown.close(),
  });
  const rows = KEYS.map(([what, keys]) =>
    el(
      "div",
      {},
      el("dt", { text: what }),
      el(
        "dd",
        {},
        keys.map((key) => (key === "…" ? el("span", { text: key }) : el("kbd", { text: key }))),
      ),
    ),
  );
  const shown = el(
    "dialog",
    { "aria-label": "Keyboard" },
    el("div", { class: "dialog-head" }, el("h2", { text: "Keyboard" }), close),
    el("dl", { class: "keys" }, rows),
  );
  // A click beside it closes it: only the backdrop is the dialog itself.
  shown.addEventListener("click", (event) => {
    if (event.target === shown) shown.close();
  });
  document.body.append(shown);
  return shown;
}
