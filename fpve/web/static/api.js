// Asking the server. Every answer is JSON; a refusal is an ApiError with the server's own line.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: the server could not be reached.
  }
}

/** Whether it is the condition of the WHERE box that is refused. */
export const isOfWhere = (error) => error?.status === 400 && error.message.startsWith("where: ");

/** Whether a request ended because nobody wants its answer any more. */
export const isAbort = (error) => error?.name === "AbortError";

export class Api {
  /**
   * `onanswer(answer)` sees every answer, with its `snapshot`; `onreach(reached)` learns whether the server can be
   * reached.
   */
  constructor({ onanswer = () => {}, onreach = () => {} } = {}) {
    this.onanswer = onanswer;
    this.onreach = onreach;
  }

  /** GET: parameters that are null, undefined or "" are left out, objects are written as JSON. */
  get(path, params = {}, { signal } = {}) {
    return this.#json(withQuery(path, params), { signal });
  }

  /** POST of JSON, or of a form with files. */
  post(path, body, { signal } = {}) {
    return this.#json(path, { method: "POST", signal, ...encoded(body) });
  }

  /** GET of a picture, as a blob. */
  async picture(path, params = {}, { signal } = {}) {
    return (await this.#fetch(withQuery(path, params), { signal })).blob();
  }

  /** POST that answers with a file: {blob, name}. */
  async file(path, body, { signal } = {}) {
    const response = await this.#fetch(path, { method: "POST", signal, ...encoded(body) });
    const name = /filename="?([^";]+)"?/.exec(response.headers.get("content-disposition") ?? "")?.[1];
    return { blob: await response.blob(), name };
  }

  /**
   * GET that may take long: while the server says 202 it is asked again, and `onprogress({stage, done, total, seconds})` is told.
   * Abort `signal` when the view is left.
   */
  async poll(path, params = {}, { signal, onprogress = () => {} } = {}) {
    // Quick ones are seen at once, slow ones are not asked about a hundred times.
    for (let pause = 150; ; pause = Math.min(1500, pause * 1.5)) {
      const answer = await this.get(path, params, { signal });
      if (answer.state !== "running") return answer;
      onprogress(answer);
      await rest(pause, signal);
    }
  }

  /** Requests of which only the latest counts: a new one aborts the one before, which then rejects (see isAbort). */
  channel() {
    let controller = null;
    const next = () => {
      controller?.abort();
      controller = new AbortController();
      return controller.signal;
    };
    return {
      get: (path, params) => this.get(path, params, { signal: next() }),
      post: (path, body) => this.post(path, body, { signal: next() }),
      poll: (path, params, how) => this.poll(path, params, { ...how, signal: next() }),
      abort: () => controller?.abort(),
    };
  }

  async #json(url, how) {
    const response = await this.#fetch(url, how);
    const answer = await response.json();
    this.onanswer(answer);
    return answer;
  }

  async #fetch(url, how) {
    let response;
    try {
      response = await fetch(url, how);
    } catch (error) {
      if (isAbort(error)) throw error;
      this.onreach(false);
      throw new ApiError("The server can't be reached.", 0);
    }
    this.onreach(true);
    if (response.ok) return response;
    const said = await response.json().catch(() => ({}));
    throw new ApiError(said.error ?? `The server answered ${response.status}.`, response.status);
  }
}

export function withQuery(path, params) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(
    given.map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)]),
  );
  return given.length ? `${path}?${query}` : path;
}

/** The path of something that belongs to an image: `pathOf("images", id)`. Slashes of ids stay slashes. */
export const pathOf = (kind, id) => `/api/${kind}/${id.split("/").map(encodeURIComponent).join("/")}`;

const encoded = (body) =>
  body instanceof FormData ? { body } : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };

function rest(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(new DOMException("no longer wanted", "AbortError"));
      },
      { once: true },
    );
  });
}
