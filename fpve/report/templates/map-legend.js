// What the points of a map are coloured by: the largest classes, the others, and no value; or ranges of a number. Each
// is an entry that can be switched off.
class Legend {
  // `by` is what there is to colour by: kind ("classes", "numbers", "integers", "times"), names, codes (-1: none) and
  // values (NaN: none), and how many classes have a colour of their own.
  constructor(plot, by) {
    this.plot = plot;
    this.by = by;
    this.isClasses = by.kind === "classes";
    this.entries = [];
    this.onchange = () => {};
    if (this.isClasses) this.class(); else this.divide();
    plot.off = this.entries.map(() => false);
  }

  class() {
    const { names, codes } = this.by, { plot, entries } = this, sizes = new Array(names.length).fill(0);
    let missing = 0;
    for (const code of codes) if (code < 0) missing++; else sizes[code]++;
    const own = Math.min(names.length, this.by.classes), rest = names.length - own;
    for (let at = 0; at < own; at++) entries.push({ name: names[at], count: sizes[at] });
    if (rest) entries.push({ name: `${rest.toLocaleString("en")} other${rest > 1 ? "s" : ""}`, count: sizes.slice(own).reduce((sum, one) => sum + one, 0), kind: "rest" });
    if (missing) entries.push({ name: "no value", count: missing, kind: "none" });
    for (let i = 0; i < plot.n; i++) plot.tone[i] = plot.entry[i] = codes[i] < 0 ? entries.length - 1 : Math.min(codes[i], own);
  }

  divide() {
    const { values } = this.by, { plot, entries } = this;
    this.bins = 24;
    // Of the middle 98 %: one value that is far away would leave one colour to all others.
    const sorted = values.filter((one) => one === one).sort(), bins = this.bins;
    this.low = sorted[Math.floor(0.01 * (sorted.length - 1))] ?? 0;
    this.high = sorted[Math.ceil(0.99 * (sorted.length - 1))] ?? 0;
    for (let bin = 0; bin < bins; bin++) entries.push({ count: 0 });
    entries.push({ name: "no value", count: plot.n - sorted.length, kind: "none" });
    for (let i = 0; i < plot.n; i++) {
      const share = this.high > this.low ? (values[i] - this.low) / (this.high - this.low) : 0.5;
      const bin = values[i] === values[i] ? Math.max(0, Math.min(bins - 1, Math.floor(share * bins))) : bins;
      entries[(plot.entry[i] = plot.tone[i] = bin)].count++;
    }
  }

  // What a point is coloured by, in words.
  textOf(i) {
    const { codes, names, values } = this.by;
    if (this.isClasses) return codes[i] < 0 ? "no value" : names[codes[i]];
    return values[i] === values[i] ? this.say(values[i]) : "no value";
  }

  say(value) {
    if (this.by.kind === "times") return new Date(value * 1000).toISOString().slice(0, 10);
    if (this.by.kind === "integers") return String(value);
    return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 3 : 1 });
  }

  toneOf(i) {
    return `rgb(${this.plot.tones[this.plot.tone[i]].join()})`;
  }

  // Red, green and blue of a colour, written as #rrggbb or rgb(r, g, b).
  static rgb(text) {
    if (!text.includes("#")) return text.match(/\d+(\.\d+)?/g).slice(0, 3).map(Number);
    return [1, 3, 5].map((at) => parseInt(text.trim().slice(at, at + 2), 16));
  }

  // Viridis, without the end that is not seen on the paper.
  ramp(share) {
    const viridis = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
    const at = (this.isDark ? 0.16 + 0.84 * share : 0.93 * share) * (viridis.length - 1), from = Math.min(viridis.length - 2, Math.floor(at));
    const [one, other] = [Legend.rgb(viridis[from]), Legend.rgb(viridis[from + 1])];
    return one.map((value, channel) => Math.round(value + (other[channel] - value) * (at - from)));
  }

  // Take colours: of the paper, of points that are `dimmed`, of the `rest` of the classes, of `none`, and of each of
  // the `classes`, as #rrggbb or rgb(r, g, b).
  paint(colours, isDark) {
    const { plot } = this, { rgb } = Legend;
    this.isDark = isDark;
    plot.paper = rgb(colours.paper);
    plot.dimmed = rgb(colours.dimmed);
    plot.tones = this.entries.map((entry, at) => entry.kind ? rgb(colours[entry.kind]) : this.isClasses ? rgb(colours.classes[at]) : this.ramp((at + 0.5) / this.bins));
    this.entries.forEach((entry, at) => entry.paint?.(`rgb(${plot.tones[at].join()})`));
    if (this.strip) this.strip.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => `rgb(${this.ramp(share).join()})`).join()})`;
  }

  // Show all entries, or none.
  every(isOff) {
    this.plot.off.fill(isOff);
    this.sliders?.forEach((slider, end) => { slider.value = end * this.bins; });
    this.changed();
  }

  changed() {
    const { plot } = this;
    plot.spot = -1;
    plot.forget();
    this.entries.forEach((entry, at) => {
      entry.button?.setAttribute("aria-pressed", String(!plot.off[at]));
      entry.bar?.classList.toggle("off", plot.off[at]);
    });
    this.onchange(this.entries.reduce((sum, entry, at) => sum + (plot.off[at] ? 0 : entry.count), 0));
  }

  // The elements to see it by, and to switch it.
  elements() {
    const list = this.list();
    return this.isClasses ? [list] : [this.scale(), list];
  }

  list() {
    const { plot } = this, list = Legend.made("ul", "entries");
    const spot = (at) => {
      plot.spot = at >= 0 && !plot.off[at] ? at : -1;
      this.onchange(-1);
    };
    this.entries.forEach((entry, at) => {
      if (!entry.name || !entry.count) return;
      entry.button = Legend.made("button", entry.kind || "", Legend.made("i"), Legend.made("bdi", "", entry.name), Legend.made("span", "", entry.count.toLocaleString("en")));
      Object.assign(entry.button, { type: "button", title: entry.name, ariaPressed: "true" });
      entry.paint = (tone) => entry.button.style.setProperty("--tone", tone);
      entry.button.addEventListener("click", () => { plot.off[at] = !plot.off[at]; this.changed(); });
      // A finger that touches it means to press it.
      entry.button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.entries.length > 1 && spot(at));
      entry.button.addEventListener("pointerleave", () => spot(-1));
      list.append(Legend.made("li", "", entry.button));
    });
    return list;
  }

  // How often each range of a number is, and which are shown.
  scale() {
    const { plot, bins, low, high } = this, { made } = Legend, ranges = this.entries.slice(0, bins);
    const most = Math.max(1, ...ranges.map((entry) => entry.count)), bars = made("div", "bars"), ends = made("div", "ends");
    bars.ariaHidden = "true";
    for (const entry of ranges) {
      entry.bar = made("i");
      entry.bar.style.height = `${100 * entry.count / most}%`;
      entry.paint = (tone) => { entry.bar.style.background = tone; };
      bars.append(entry.bar);
    }
    this.strip = made("div", "strip");
    const at = (share) => this.say(this.by.kind === "integers" ? Math.round(low + share * (high - low)) : low + share * (high - low));
    // The ends stand for all that is beyond them.
    ends.append(...[0, 0.5, 1].map((share) => made("span", "", at(share))));
    this.sliders = [0, 1].map((end) => {
      const slider = Object.assign(made("input"), { type: "range", min: 0, max: bins, value: end * bins });
      slider.addEventListener("input", () => {
        const [from, to] = this.sliders;
        if (+from.value >= +to.value) slider.value = end ? +from.value + 1 : +to.value - 1;
        for (let bin = 0; bin < bins; bin++) plot.off[bin] = bin < +from.value || bin >= +to.value;
        slider.ariaValueText = at(slider.value / bins);
        this.changed();
      });
      return slider;
    });
    return made("div", "ramp", bars, this.strip, ends, made("label", "", "from", this.sliders[0]), made("label", "", "to", this.sliders[1]));
  }

  static made(tag, className = "", ...children) {
    const element = Object.assign(document.createElement(tag), { className });
    element.append(...children);
    return element;
  }
}
