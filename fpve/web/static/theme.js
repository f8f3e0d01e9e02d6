// Light, dark, or as the system has it; remembered in this browser.

const KEY = "fpve.theme";
const THEMES = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
// As first.js has read it.
let theme = THEMES.find((one) => one === document.documentElement.dataset.theme) ?? "auto";
let probe = null;

apply();
system.addEventListener("change", () => {
  if (theme === "auto") tell();
});

export const current = () => theme;

export function choose(next) {
  theme = next;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Storage is switched off: the theme is forgotten with the page.
  }
  apply();
  tell();
}

export const nextTheme = () => THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
export function isDark() {
  return theme === "dark" || (theme === "auto" && system.matches);
}

/** Be told when colours changed; returns an end. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** A colour token as the canvas needs it: colour("--ink") is "rgb(27, 28, 31)". */
export function colour(name) {
  if (!probe) {
    probe = document.createElement("i");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function apply() {
  document.documentElement.dataset.theme = theme;
}
function tell() {
  for (const listener of listeners) listener();
}
