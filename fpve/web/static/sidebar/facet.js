// A column in the sidebar: a heading that folds what is below it.

import { el, icon } from "../dom.js";
import { count } from "../words.js";

/** A section of a column: `root`, its `body`, and `mark(text)` that says beside the heading what is chosen. */
export function facetSection(column, isOpen, onclear) {
  const body = el("div", { class: "facet-body" });
  const text = el("bdi");
  const chosen = el(
    "button",
    { type: "button", class: "facet-chosen", hidden: true, onclick: onclear },
    text,
    icon("cross"),
  );
  const root = el(
    "section",
    { class: "facet" },
    el(
      "details",
      { open: isOpen },
      el("summary", {}, icon("right"), el("bdi", { class: "facet-name", text: column, title: column })),
      body,
    ),
    chosen,
  );
  const mark = (said) => {
    chosen.hidden = said === null;
    text.textContent = said ?? "";
    chosen.setAttribute("aria-label", `${column}: ${said}. Clear this filter`);
  };
  return { root, body, mark };
}

/** A line with a box to tick: a value and how many images have it. `share` of the longest is drawn behind it. */
export function valueLine({ label, number, share, isChosen, isNone = false, onchange }) {
  const box = el("input", { type: "checkbox", checked: isChosen, onchange });
  const line = el(
    "label",
    { class: ["value", isNone && "is-none", !number && "is-empty"] },
    box,
    el("bdi", { class: "value-name", text: label, title: label }),
    el("span", { class: "value-count", text: count(number) }),
    el("i", { "aria-hidden": "true" }),
  );
  line.style.setProperty("--share", share);
  return line;
}
