// Which column is meant where nobody has said so.

// Columns of such names say what a picture is.
const USUAL = ["label", "class", "category", "kind", "type", "species"];

/** Names of the columns that can be labels. */
export const labelColumns = (status) => (status?.columns ?? []).filter((column) => column.is_label).map((column) => column.name);

/** The column that says what a picture is: one of a usual name, or else the only one there is; null where nobody knows. */
export function likelyLabel(status) {
  const names = labelColumns(status);
  const usual = USUAL.map((word) => names.find((name) => name.toLowerCase() === word)).find(Boolean);
  return usual ?? (names.length === 1 ? names[0] : null);
}
