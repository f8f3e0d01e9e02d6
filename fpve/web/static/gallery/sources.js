// Where the rows of the grid come from: a search, all images that meet the conditions, or those that are selected.

// Deeper in a ranking nothing is fetched: the API skips no more, and nobody looks so far.
const DEEPEST = 99_000;

/** What the address, and the selection, say is to be shown: {key, isSearch, fetchRows} for a Listing. */
export function sourceOf(app, { only = null } = {}) {
  const { api, state } = app;
  if (only)
    return {
      key: "selected",
      isSearch: false,
      fetchRows: (offset, limit, signal) => chosen(api, only, offset, limit, signal),
    };
  const query = app.query();
  const conditions = app.conditions();
  if (query) {
    const params = { ...query, ...conditions, exact: state.get("exact") === "1" ? true : null };
    return {
      key: JSON.stringify(params),
      isSearch: true,
      fetchRows: (offset, limit, signal) => hits(api, params, offset, limit, signal),
    };
  }
  const params = { ...conditions, sort: state.get("sort") };
  return {
    key: JSON.stringify(params),
    isSearch: false,
    fetchRows: (offset, limit, signal) => images(api, params, offset, limit, signal),
  };
}

async function hits(api, params, offset, limit, signal) {
  const answer = await api.get("/api/search", { ...params, offset, k: limit }, { signal });
  return { total: Math.min(answer.total, DEEPEST), rows: answer.hits, answer };
}

async function images(api, params, offset, limit, signal) {
  const answer = await api.get("/api/images", { ...params, offset, limit }, { signal });
  return { total: answer.total, rows: answer.images, answer };
}

// A window of ids is short enough for a condition; the order is that in which they were selected.
async function chosen(api, ids, offset, limit, signal) {
  const some = ids.slice(offset, offset + limit);
  if (!some.length) return { total: ids.length, rows: [], answer: null };
  const where = `image_id IN (${some.map((id) => `'${id.replaceAll("'", "''")}'`).join(", ")})`;
  const answer = await api.get("/api/images", { where, limit }, { signal });
  const found = new Map(answer.images.map((row) => [row.image_id, row]));
  // One that a newer snapshot has no more keeps its place, without a picture.
  const rows = some.map(
    (id) => found.get(id) ?? { image_id: id, path: id, prefix: null, metadata: {}, thumbnail: null },
  );
  return { total: ids.length, rows, answer };
}
