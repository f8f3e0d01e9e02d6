// The question: a text, a picture or an image of the store, both sides together, in one field.

import { isAbort, pathOf } from "../api.js";
import { button, el, find, icon } from "../dom.js";
import { fileName } from "../words.js";
import { Examples } from "./examples.js";

// Typing is over when no key was struck for so long; a text is encoded in some 20 ms, the first one in a second or two.
const TYPED = 400;

export class Question {
  #app;
  #upload = null;
  #typing = 0;
  // Whether the address has a step for what is being typed, which further letters then change.
  #begun = false;
  // Whoever has just emptied the field wants to see the images rather than examples.
  #isEmptied = false;

  constructor(app, root) {
    this.#app = app;
    this.chip = el("span", { class: "question-picture", hidden: true });
    this.input = el("input", {
      id: "q",
      type: "search",
      autocomplete: "off",
      spellcheck: "false",
      enterkeyhint: "search",
      "aria-label": "Search by text",
      oninput: () => this.#typed(),
      onkeydown: (event) => this.#key(event),
      onfocus: () => this.#hint(),
      onblur: () => {
        this.#begun = this.#isEmptied = false;
      },
    });
    this.examples = new Examples(app, {
      onchoose: (text) => this.#choose(text),
      onleave: (down) => (down ? app.enterGrid() : this.input.focus()),
    });
    this.clear = button({
      class: "plain clear",
      icon: "cross",
      label: "Clear the search",
      onclick: () => this.empty(),
    });
    this.file = el("input", {
      type: "file",
      accept: "image/*",
      class: "visually-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      onchange: () => {
        this.picture(this.file.files[0]);
        this.file.value = "";
      },
    });
    const choose = button({
      class: "plain",
      icon: "picture",
      label: "Search by a picture",
      onclick: () => this.file.click(),
    });
    choose.dataset.tipAt = "left";
    root.append(
      el("div", { class: "question" }, icon("search"), this.chip, this.input, this.clear, choose, this.file),
      this.examples.element,
    );
    root.addEventListener("focusout", ({ relatedTarget: to }) =>
      this.examples.show(this.examples.isOpen && root.contains(to)),
    );
    this.update();
  }

  /** The address asks something else; `moved`: by back or forward, and not by what is typed here. */
  update({ moved = false } = {}) {
    const { state } = this.#app;
    const text = state.get("q") ?? "";
    if (moved) this.#begun = false;
    if (document.activeElement !== this.input || !this.#begun) this.input.value = text;
    const like = state.get("like");
    const picture = state.get("picture");
    if (!this.#upload)
      this.#show(
        like !== null
          ? { src: pathOf("thumbnails", like), name: `like ${fileName(like)}` }
          : picture !== null
            ? { src: `/api/queries/${encodeURIComponent(picture)}`, name: "your picture" }
            : null,
      );
    this.#hint();
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  /** Ask nothing. */
  empty() {
    this.#upload?.abort();
    this.input.value = "";
    this.#isEmptied = true;
    this.#app.state.set({ q: null, like: null, picture: null, sort: null });
    this.input.focus();
  }

  /** Search by a picture: a file or a blob, whose name is shown while it travels. */
  async picture(file, { text = this.#app.state.get("q"), name = file?.name || "picture" } = {}) {
    if (!file) return;
    const { api, state, toast } = this.#app;
    const form = new FormData();
    form.append("image", file, name);
    form.append("k", "1");
    this.#upload?.abort();
    const upload = (this.#upload = new AbortController());
    this.#show({ src: null, name, busy: true });
    try {
      const { query } = await api.post("/api/search", form, { signal: upload.signal });
      this.#upload = null;
      state.set({ view: this.#app.viewForHits(), picture: query.picture, like: null, q: text, image: null });
    } catch (error) {
      if (!isAbort(error)) toast(error.message, { kind: "error" });
    } finally {
      if (this.#upload === upload) this.#upload = null;
      if (!this.#upload) this.update();
    }
  }

  #choose(text) {
    this.input.value = text;
    this.input.focus();
    this.#ask();
    this.#begun = false;
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#isEmptied = false;
    this.#hint();
    this.#typing = setTimeout(() => this.#ask(), TYPED);
  }

  #key(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      clearTimeout(this.#typing);
      this.#ask();
      this.#begun = false;
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (this.input.value) {
        this.input.value = "";
        this.#typed();
        this.examples.show(false);
      } else if (this.examples.isOpen) this.examples.show(false);
      else this.input.blur();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      if (!this.examples.enter()) this.#app.enterGrid();
    } else if (event.key === "Backspace" && !this.input.value && !this.chip.hidden) this.#removePicture();
  }

  #ask() {
    const { state } = this.#app;
    const text = this.input.value.trim() || null;
    const like = state.get("like");
    if (text === state.get("q")) return;
    // An image of the store brings its own prefix; with another text it is asked by its picture.
    if (like !== null && text !== null) return void this.#pictureOf(like, text);
    state.set({ view: this.#app.viewForHits(), q: text }, { replace: this.#begun });
    this.#begun = true;
  }

  async #pictureOf(id, text) {
    const { api, toast } = this.#app;
    try {
      const picture = api.picture(pathOf("pictures", id), { side: 1024 });
      const blob = await picture.catch((error) => {
        if (error.status !== 404) throw error;
        return api.picture(pathOf("thumbnails", id));
      });
      await this.picture(blob, { text, name: fileName(id) });
    } catch (error) {
      const gone = `The picture of ${fileName(id)} is not at hand: search by text alone, or choose a picture.`;
      toast(error.status === 404 ? gone : error.message, { kind: "error" });
    }
  }

  #removePicture() {
    this.#upload?.abort();
    this.#app.state.set({ like: null, picture: null });
    this.#show(null);
    this.input.focus();
  }

  #show(picture) {
    this.chip.hidden = picture === null;
    this.chip.replaceChildren();
    this.chip.classList.toggle("is-busy", !!picture?.busy);
    if (!picture) return;
    const image = el("img", {
      src: picture.src,
      alt: "",
      hidden: !picture.src,
      onerror: () => {
        image.hidden = true;
      },
    });
    this.chip.append(
      image,
      el("bdi", { text: picture.name }),
      button({ class: "plain", icon: "cross", label: "Remove the picture", onclick: () => this.#removePicture() }),
    );
    this.#hint();
  }

  #hint() {
    const { status } = this.#app;
    const pictured = !this.chip.hidden;
    const narrow = innerWidth < 736;
    const isText = !status || (status.encoders.text && (status.has_prefixes || status.shares_space));
    this.clear.hidden = !this.input.value && !pictured;
    this.input.placeholder = pictured
      ? status?.has_prefixes === false
        ? ""
        : "and a text"
      : !isText
        ? "Drop, paste or choose a picture"
        : narrow
          ? "Text or a picture"
          : "Search by text, or drop, paste or choose a picture";
    const isEmpty = !this.input.value && !pictured;
    this.examples.show(isEmpty && !this.#isEmptied && document.activeElement === this.input);
  }
}

/** Take pictures that are dropped or pasted anywhere; `root` is shown while one is held over the page. */
export function acceptPictures(question, { toast }) {
  const veil = find("veil");
  let inside = 0;
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const take = (files) => {
    const file = [...files].find((one) => one.type.startsWith("image/"));
    if (file) question.picture(file);
    else if (files.length) toast("That is no picture.", { kind: "error" });
    return !!file;
  };
  addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) {
      event.preventDefault();
      inside++;
      veil.hidden = false;
    }
  });
  addEventListener("dragover", (event) => {
    if (holdsFiles(event)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    }
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --inside <= 0) {
      inside = 0;
      veil.hidden = true;
    }
  });
  addEventListener("drop", (event) => {
    inside = 0;
    veil.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (files.length && take(files)) event.preventDefault();
  });
}
