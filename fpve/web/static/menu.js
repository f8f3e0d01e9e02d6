// Menus that open below a button, and go when something else is wanted.

import { button, el, icon } from "./dom.js";

/**
 * A button that opens a menu. `items()` gives what is in it each time: {text, hint, checked, onclick}, or a node, or
 * null for nothing, or "-" for a line.
 */
export function menuButton(given, items, { label = given.label ?? given.text, align = "right" } = {}) {
  const menu = el("div", { class: "menu", popover: "auto", role: "menu", "aria-label": label });
  const opener = button({
    ...given,
    "aria-haspopup": "menu",
    "aria-expanded": "false",
    onclick: () => menu.togglePopover(),
  });
  menu.addEventListener("beforetoggle", (event) => {
    if (event.newState !== "open") return;
    menu.replaceChildren(
      ...items()
        .filter((item) => item !== null)
        .map((item) => made(item, menu)),
    );
  });
  menu.addEventListener("toggle", (event) => {
    const isOpen = event.newState === "open";
    opener.setAttribute("aria-expanded", isOpen);
    if (isOpen) {
      place(menu, opener, align);
      (menu.querySelector("[aria-checked=true]") ?? menu.querySelector("button, input"))?.focus();
    } else if (menu.contains(document.activeElement) || document.activeElement === document.body) opener.focus();
  });
  menu.addEventListener("keydown", (event) => step(menu, event));
  return el("span", { class: "menu-holder" }, opener, menu);
}

function made(item, menu) {
  if (item === "-") return el("hr");
  if (item instanceof Node) return item;
  const checkable = item.checked !== undefined;
  return el(
    "button",
    {
      type: "button",
      class: "menu-item",
      role: checkable ? "menuitemradio" : "menuitem",
      "aria-checked": checkable ? String(item.checked) : null,
      disabled: item.disabled,
      onclick: () => {
        menu.hidePopover();
        item.onclick();
      },
    },
    checkable && icon(item.checked ? "check" : "none"),
    el("span", { text: item.text, dir: "auto" }),
    item.hint && el("small", { text: item.hint }),
  );
}

function place(menu, opener, align) {
  const at = opener.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const left = align === "right" ? at.right - width : at.left;
  const below = at.bottom + 6;
  const top = below + height > innerHeight - 8 ? Math.max(8, at.top - height - 6) : below;
  menu.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, left))}px`;
  menu.style.top = `${top}px`;
}

function step(menu, event) {
  const all = [...menu.querySelectorAll("button:not(:disabled)")];
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined || event.target.matches("input")) return;
  event.preventDefault();
  event.stopPropagation();
  all.at(to % all.length)?.focus();
}
