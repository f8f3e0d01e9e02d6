// Two pictures of a cluster beside each other, or one over the other: whether the second is nothing but a copy.

import { pathOf } from "../api.js";
import { bdi, button, el, icon } from "../dom.js";
import { bytes, count, nameOf, plural } from "../words.js";

const MODES = [["beside", "Side by side"], ["over", "Wipe"], ["difference", "Difference"]];
// Larger than half of most screens, and small enough to come at once.
const SIDE = 1024;
let mode = "beside";

/** Open the comparison of the first of some rows, which is kept, with the one at a place. */
export function compare(app, rows, at) {
  const dialog = el("dialog", { class: "compare", "aria-label": "Comparison" });
  dialog.addEventListener("close", () => dialog.remove());
  // A click beside it closes it, too.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target.matches("input")) return;
    event.preventDefault();
    move(step);
  });
  const move = (step) => {
    at = 1 + (at - 1 + step + rows.length - 1) % (rows.length - 1);
    draw();
  };
  const choose = (next) => {
    mode = next;
    draw();
  };
  function draw() {
    const focused = document.activeElement?.closest("dialog") === dialog ? document.activeElement.dataset.key : null;
    dialog.replaceChildren(...parts(app, dialog, rows, at, { move, choose }));
    (dialog.querySelector(`[data-key="${focused}"]`) ?? dialog.querySelector("[data-key=close]")).focus();
  }
  document.body.append(dialog);
  dialog.showModal();
  draw();
}

function parts(app, dialog, rows, at, { move, choose }) {
  const kept = rows[0], other = rows[at];
  const several = rows.length > 2 && [
    button({ class: "plain", icon: "left", label: "Previous", onclick: () => move(-1), data: { key: "previous" } }),
    el("span", { class: "soft", text: `${at} of ${count(rows.length - 1)}` }),
    button({ class: "plain", icon: "right", label: "Next", onclick: () => move(1), data: { key: "next" } }),
  ];
  const modes = el("div", { class: "segments", role: "group", "aria-label": "How they are compared" }, MODES.map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === mode), text, onclick: () => choose(value), data: { key: value } })));
  return [
    el("header", {}, el("h2", { text: `Compare ${plural(rows.length, "picture")}` }), several, modes,
      button({ class: "plain", icon: "cross", label: "Close", onclick: () => dialog.close(), data: { key: "close", tipAt: "left" } })),
    ...(mode === "beside" ? [el("div", { class: "compare-pair" }, picture(app, kept), picture(app, other))] : over(app, kept, other)),
    el("div", { class: "compare-facts" }, facts(app, dialog, kept, null), facts(app, dialog, other, kept)),
  ];
}

/** A picture: its thumbnail at once, the original where it is at hand. */
function picture(app, row, isTurned = false) {
  const shown = el("img", { src: row.image.thumbnail, alt: nameOf(row.image), class: isTurned && "is-mirrored" });
  app.api.get(pathOf("images", row.image.image_id)).then(({ has_picture: has, content_hash: hash }) => {
    if (!has) return;
    const full = new Image();
    full.onload = () => { shown.src = full.src; };
    full.src = `${pathOf("pictures", row.image.image_id)}?side=${SIDE}&v=${hash.slice(0, 16)}`;
  }, () => {}); // The thumbnail stays.
  return el("div", { class: "compare-picture" }, shown);
}

function over(app, kept, other) {
  const above = picture(app, other, other.mirrored), stack = el("div", { class: ["compare-stack", `is-${mode}`] }, picture(app, kept), above);
  if (mode === "difference") return [stack, el("p", { class: "soft compare-note", text: "Black is where they agree." })];
  const wipe = el("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "How much of the one that stays is seen", oninput: () => cut(), data: { key: "wipe" } });
  const cut = () => { above.style.clipPath = `inset(0 0 0 ${wipe.value}%)`; };
  cut();
  return [stack, el("label", { class: "compare-wipe" }, el("span", { text: "keep" }), wipe, el("span", { text: "other" }))];
}

function facts(app, dialog, row, kept) {
  const better = (own, its) => kept && own !== null && its !== null && own !== its ? ` (${own > its ? "more" : "less"} than the other)` : "";
  const pixels = ({ image }) => image.width && image.height ? image.width * image.height : null;
  const what = !kept ? "keep" : row.kind === "exact" ? "the same bytes" : row.mirrored ? "mirrored" : "nearly the same";
  const open = () => {
    dialog.close();
    app.openImage(row.image.image_id);
  };
  const select = el("button", { type: "button", class: "button", data: { key: kept ? "select" : "select-kept" }, onclick: () => {
    app.selection.toggle(row.image.image_id);
    mark();
  } });
  const mark = () => {
    const isSelected = app.selection.has(row.image.image_id);
    select.setAttribute("aria-pressed", String(isSelected));
    select.replaceChildren(...(isSelected ? [icon("check"), "Selected"] : ["Select"]));
  };
  mark();
  return el("section", {},
    el("h3", { class: ["verdict", kept ? "goes" : "stays"] }, kept ? null : icon("check"), el("b", { text: what })),
    el("dl", {},
      pair("Pixels", row.image.width ? `${count(row.image.width)} × ${count(row.image.height)}${kept ? better(pixels(row), pixels(kept)) : ""}` : "unknown"),
      pair("File", row.bytes === null ? "unknown" : `${bytes(row.bytes)}${kept ? better(row.bytes, kept.bytes) : ""}`),
      kept && row.kind !== "exact" && pair("Cosine", row.cosine.toFixed(4)),
      kept && row.pixels !== null && pair("Pixels agree", row.pixels.toFixed(3)),
      pair("Prefix", row.image.prefix ?? "none"), pair("Path", row.image.path)),
    el("div", { class: "bench-actions" }, select, button({ class: "plain", text: "Details", onclick: open, data: { key: kept ? "open" : "open-kept" } })));
}

const pair = (name, value) => el("div", {}, el("dt", { text: name }), el("dd", {}, bdi(value)));
