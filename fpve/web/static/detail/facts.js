// What the store knows of an image: its prefix and where that came from, its metadata, its file.

import { button, el } from "../dom.js";
import { bytes, fileName, score, time, valueText } from "../words.js";

// What is longer than three lines is read as a text, not as a title.
const TITLE = 120;
const ORIGINS = {
  template: "filled in from metadata",
  column: "from a column",
  generated: "written by a language model",
  set: "set by hand",
  file: "from a file",
};

/** The prefix, large, and its provenance; where there is none the name of the file. */
export function prefixOf(details) {
  const { prefix, provenance, path } = details;
  const text = prefix?.trim();
  const heading = el("h2", {
    class: ["detail-title", !text && "soft", text?.length > TITLE && "is-long"],
    dir: "auto",
    text: text || fileName(path),
  });
  if (!provenance) return text ? [heading] : [heading, el("p", { class: "provenance", text: "No prefix" })];
  const { origin, template, model, prompt, created_at } = provenance;
  const said = [ORIGINS[origin] ?? origin, model && `by ${model}`].filter(Boolean).join(", ");
  return [
    heading,
    el(
      "p",
      { class: "provenance" },
      `Prefix ${said}`,
      template && [" ", el("code", { text: template })],
      created_at && el("span", { text: `, ${time(created_at)}` }),
      prompt && el("details", {}, el("summary", { text: "Prompt" }), el("p", { text: prompt, dir: "auto" })),
    ),
  ];
}

/** The score of a hit and its cosines, as bars. */
export function scoresOf(hit) {
  const lines = [
    ["score", "Score", hit.score],
    ["image", "Picture", hit.image_score],
    ["image", "Text against picture", hit.cross_score],
    ["prefix", hit.prefix_predicted ? "Predicted prefix" : "Prefix", hit.prefix_score],
  ].filter(([, , value]) => value !== null && value !== undefined);
  return el(
    "dl",
    { class: "score-bars" },
    lines.map(([kind, name, value]) =>
      el(
        "div",
        { class: kind },
        el("dt", { text: name }),
        el(
          "dd",
          {},
          el(
            "span",
            { class: "score-bar", "aria-hidden": "true" },
            el("i", { style: { width: `${100 * Math.max(0, Math.min(1, value))}%` } }),
          ),
          el("b", { text: score(value) }),
        ),
      ),
    ),
  );
}

/** Metadata, each value a filter. */
export function metadataOf(app, details) {
  const types = new Map((app.status?.columns ?? []).map((column) => [column.name, column]));
  const rows = [["collection", details.collection], ...Object.entries(details.metadata)];
  return table(rows.map(([name, value]) => [name, valuesOf(app, name, value, types.get(name))]));
}

function valuesOf(app, name, value, column) {
  const values = Array.isArray(value) ? value : [value];
  if (!values.length) return el("span", { class: "soft", text: "none" });
  return el(
    "span",
    { class: "fact-values" },
    values.map((one) => {
      const isRange = column?.facet === "range" && one !== null;
      const text = valueText(one);
      return el("button", {
        type: "button",
        class: ["fact-value", one === null && "is-none"],
        dir: "auto",
        text,
        title: `Only images with this ${name}`,
        onclick: () => app.facets.set(name, isRange ? { min: one, max: one } : [one]),
      });
    }),
  );
}

/** The file: ids and paths to copy, sizes, copies. */
export function fileOf(app, details) {
  const copyable = (text, label) =>
    el(
      "span",
      { class: "fact-copy" },
      el("bdi", { class: "mono", text }),
      button({
        class: "plain",
        icon: "copy",
        label: `Copy ${label}`,
        "data-tip-at": "left",
        onclick: () => app.copy(text),
      }),
    );
  const rows = [
    ["image_id", copyable(details.image_id, "the image_id")],
    ["path", copyable(details.path, "the path")],
  ];
  const size = [
    details.width && `${details.width} × ${details.height}`,
    details.bytes !== null && details.bytes !== undefined && bytes(details.bytes),
  ]
    .filter(Boolean)
    .join(", ");
  if (size) rows.push(["size", el("span", { text: size })]);
  if (details.content_hash) rows.push(["content", copyable(details.content_hash, "the content hash")]);
  if (details.copies?.length) {
    rows.push([
      "copies",
      el(
        "span",
        { class: "fact-values" },
        details.copies.map((id) =>
          el("button", {
            type: "button",
            class: "fact-value",
            text: fileName(id),
            title: id,
            onclick: () => app.openImage(id, { among: [details.image_id, ...details.copies] }),
          }),
        ),
      ),
    ]);
  }
  return table(rows);
}

const table = (rows) =>
  el(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) => el("div", {}, el("dt", {}, el("bdi", { text: name })), el("dd", {}, value))),
  );
