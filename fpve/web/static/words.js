// Figures and values in words.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export const count = (value) => whole.format(value);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const score = (value) => value.toFixed(3);
/** A share; below a tenth with a decimal, where that tells something. */
export const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)} %`;
/** A weight of pictures as the shares of both sides: "picture 70 %, text 30 %". */
export const shares = (weight) => `picture ${Math.round(100 * weight)} %, text ${100 - Math.round(100 * weight)} %`;
export const seconds = (value) => (value < 1 ? `${Math.max(1, Math.round(1000 * value))} ms` : `${value.toFixed(1)} s`);

/** The last part of a path. */
export const fileName = (path) => path.slice(path.lastIndexOf("/") + 1) || path;

/** What an image is called: its prefix, or else its file. */
export const nameOf = (row) => row.prefix?.trim() || fileName(row.path || row.image_id);

export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${at ? value.toPrecision(3) : value} ${units[at]}`;
}

/** "27 Nov 2026, 08:26", in the time zone of whoever looks. */
export function time(iso) {
  const at = new Date(iso);
  const two = (part) => String(part).padStart(2, "0");
  return `${at.getDate()} ${month[at.getMonth()]} ${at.getFullYear()}, ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** A value of a metadata column as people read it. */
export function valueText(value) {
  if (value === null || value === undefined) return "no value";
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : short.format(value);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}
