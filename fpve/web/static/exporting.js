// Images as a file: what POST /api/export makes, kept by the browser.

import { menuButton } from "./menu.js";
import { plural } from "./words.js";

const FORMATS = [
  ["csv", "CSV"],
  ["json", "JSON"],
  ["jsonl", "JSON Lines"],
  ["parquet", "Parquet"],
];

/** Have images written, and keep the file. `body` as the API takes it: format, ids, where, filters, sort, search. */
export async function keepExport({ api, toast }, body) {
  try {
    const { blob, name } = await api.file("/api/export", body);
    const url = URL.createObjectURL(blob);
    const link = document.createElement("a");
    link.href = url;
    link.download = name ?? `fpve.${body.format}`;
    link.click();
    // The download has begun by then; until it has, the address must be good.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    toast(`${link.download} is saved.`);
  } catch (error) {
    toast(error.message, { kind: "error" });
  }
}

/** A button for an export of `count()` images; `body()` says which, and `more()` what else is in its menu. */
export function exportButton(app, given, { count, body, more = () => [] }) {
  return menuButton(
    { icon: "out", ...given },
    () => [
      headOf(count()),
      ...FORMATS.map(([format, name]) => ({
        text: name,
        hint: `.${format}`,
        onclick: () => keepExport(app, { format, ...body() }),
      })),
      ...more(),
    ],
    { label: "Export" },
  );
}

function headOf(count) {
  const head = document.createElement("p");
  head.className = "menu-head";
  head.textContent = `Export ${plural(count, "image")} as`;
  return head;
}
