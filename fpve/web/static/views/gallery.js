// The images themselves: all of them, those that a condition leaves, or what was found.

export default {
  name: "gallery",
  title: "Gallery",
  show() {},
  update() {},
  hide() {},
};
