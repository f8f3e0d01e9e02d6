// How the store stands: its figures, its newest snapshot, and whether the server can be reached.

import { isAbort } from "./api.js";
import { button, el, find } from "./dom.js";
import { toast } from "./toasts.js";

// While the page is seen; and while the server is gone, when people wait for it.
const EVERY = 10_000;
const RETRY = 2_000;

export class Standing {
  #api;
  #listeners = new Set();
  #timer = 0;
  #asking = false;
  #reached = true;
  status = null;

  constructor(api) {
    this.#api = api;
    api.onreach = (reached) => this.#reach(reached);
    // Any answer of a newer snapshot says that there is one, before the next look.
    api.onanswer = ({ snapshot }) => {
      if (this.status && snapshot > this.status.snapshot) this.#ask();
    };
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#ask());
  }

  begin() {
    this.#ask();
  }

  /** Be told of "status" (the first one), "snapshot" (a newer one) and "reached" (the server is back). */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    const was = this.#reached;
    try {
      const before = this.status;
      const now = await this.#api.get("/api/status");
      this.status = now;
      if (!before) this.#tell("status");
      else if (before.snapshot !== now.snapshot) {
        toast(`Snapshot ${now.snapshot} is published.`);
        this.#tell("snapshot");
      } else if (!was) this.#tell("reached");
      if (now.refresh_error && now.refresh_error !== before?.refresh_error) toast(now.refresh_error, { kind: "error" });
    } catch (error) {
      if (!isAbort(error) && error.status) toast(error.message, { kind: "error" });
    } finally {
      this.#asking = false;
      this.#timer = setTimeout(
        () => document.visibilityState === "visible" && this.#ask(),
        this.#reached ? EVERY : RETRY,
      );
    }
  }

  #reach(reached) {
    if (reached === this.#reached) return;
    this.#reached = reached;
    const banner = find("banner");
    banner.hidden = reached;
    banner.replaceChildren();
    if (reached) return;
    banner.append(
      el("span", { text: "The server can't be reached. Is fpve serve still running? Trying again." }),
      button({ class: "button", text: "Try now", onclick: () => this.#ask() }),
    );
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), RETRY);
  }

  #tell(what) {
    for (const listener of this.#listeners) listener(what);
  }
}
