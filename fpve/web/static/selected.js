// The bar at the bottom: how many images are selected, and what can be done with them.

import { button, el, find } from "./dom.js";
import { exportButton } from "./exporting.js";
import { count } from "./words.js";

/** Keep the bar in step with the selection. `app.showSelected(true)` shows only what is selected. */
export function mountSelected(app) {
  const bar = find("selected");
  const { selection } = app;
  const number = el("b");
  const only = button({
    class: "plain",
    text: "Show only these",
    onclick: () => app.showSelected(!app.onlySelected()),
  });
  bar.append(
    number,
    only,
    exportButton(
      app,
      { class: "plain", text: "Export" },
      { count: () => selection.size, body: () => ({ ids: selection.ids }) },
    ),
    button({
      class: "plain",
      icon: "cross",
      label: "Clear the selection",
      "data-tip-at": "above",
      onclick: () => selection.clear(),
    }),
  );
  const update = () => {
    bar.hidden = !selection.size;
    number.textContent = `${count(selection.size)} selected`;
    only.firstChild.textContent = app.onlySelected() ? "Show all" : "Show only these";
    document.body.classList.toggle("is-selecting", selection.size > 0);
    if (!selection.size && app.onlySelected()) app.showSelected(false);
  };
  selection.subscribe(update);
  return update;
}
