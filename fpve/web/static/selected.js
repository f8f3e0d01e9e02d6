// The bar at the bottom: how many images are selected, and what can be done with them.

import { button, el, find } from "./dom.js";
import { exportButton } from "./exporting.js";
import { fitsAddress } from "./selection.js";
import { address } from "./state.js";
import { count } from "./words.js";

/** Copy an address that shows what is selected, and only that. */
function copyLink({ selection: { ids }, copy, toast }) {
  if (!fitsAddress(ids))
    return toast("These are too many for a link, which has room for some hundred: export them.", { kind: "error" });
  copy(new URL(address({ only: "1", selected: ids }), location.href).href);
}

/** Keep the bar in step with the selection. `app.showSelected(true)` shows only what is selected. */
export function mountSelected(app) {
  const bar = find("selected");
  const { selection, state } = app;
  const number = el("b");
  const only = button({
    class: "plain",
    text: "Show only these",
    onclick: () => app.showSelected(!app.onlySelected()),
  });
  bar.append(
    number,
    only,
    button({
      class: "plain",
      icon: "link",
      label: "Copy a link to these",
      "data-tip-at": "above",
      onclick: () => copyLink(app),
    }),
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
    if (!selection.size) state.set({ only: null }, { replace: true });
  };
  selection.subscribe(update);
  update();
  return update;
}
