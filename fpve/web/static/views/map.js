// Map: stands in until the view is written.

import { el } from "../dom.js";

export default {
  name: "map",
  title: "Map",
  show(root) {
    root.replaceChildren(el("div", { class: "notice" }, el("p", { text: "Nothing here yet." })));
  },
  update() {},
  hide() {},
};
