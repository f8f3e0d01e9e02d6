// What fills a view that has nothing to show, fails, or takes its time.

import { isOfWhere } from "./api.js";
import { button, el, icon } from "./dom.js";
import { Progress } from "./progress.js";
import { say } from "./toasts.js";

/** Fill `root`: a title, a line, an icon, and perhaps something to do ({text, onclick}). */
export function notice(root, { title, text = null, icon: symbol = null, error = false, action = null }) {
  root.replaceChildren(
    el(
      "div",
      { class: ["notice", error && "is-error"] },
      symbol && icon(symbol),
      el("h2", { text: title }),
      text && el("p", { text, dir: "auto" }),
      action && button({ class: "button", ...action }),
    ),
  );
  say([title, text].filter(Boolean).join(". "), { urgent: error });
}

/** What a notice says of an error: `given`, but for a server that is gone, and a condition that can't be. */
export function refusal(app, error, given) {
  if (error.status === 0)
    return {
      title: "The server can't be reached",
      text: "What belongs here comes when it is back.",
      icon: "warning",
      error: true,
    };
  if (!isOfWhere(error)) return { text: error.message, icon: "warning", error: true, ...given };
  return {
    title: "This condition can't be used",
    // The WHERE box has said it, if it is seen.
    text: app.showsFilters() ? "The box WHERE says why." : error.message,
    icon: "warning",
    error: true,
    action: { text: "Remove the condition", onclick: () => app.state.set({ where: null }) },
  };
}

/** Fill `root` while something is computed. Returns report({stage, done, total, seconds}), as the server tells these. */
export function working(root, text) {
  const progress = new Progress();
  progress.begin(text);
  root.replaceChildren(el("div", { class: "notice" }, progress.track, progress.line));
  return (told) => progress.tell(told);
}
