// Short notices that go by themselves, and what a screen reader is told.

import { button, el, find } from "./dom.js";

// Long enough to read a line of twelve words twice.
const STAY = 6000;

/** Show a notice. `kind` is "note" or "error"; `action` {text, onclick} is offered beside it. */
export function toast(text, { kind = "note", action = null } = {}) {
  const close = () => {
    made.classList.add("is-leaving");
    setTimeout(() => made.remove(), 200);
  };
  const made = el(
    "div",
    { class: ["toast", kind === "error" && "is-error"] },
    el("p", { text, dir: "auto" }),
    action &&
      button({
        class: "link",
        text: action.text,
        onclick: () => {
          close();
          action.onclick();
        },
      }),
    button({ class: "plain", icon: "cross", label: "Dismiss", onclick: close }),
  );
  find("toasts").append(made);
  say(text, { urgent: kind === "error" });
  let timer = setTimeout(close, STAY);
  made.addEventListener("pointerenter", () => clearTimeout(timer));
  made.addEventListener("pointerleave", () => {
    timer = setTimeout(close, STAY / 2);
  });
}

/** Tell screen readers: what was found, what failed. */
export function say(text, { urgent = false } = {}) {
  const region = find(urgent ? "alarm" : "said");
  // The same words twice are told twice only if they changed in between.
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}
