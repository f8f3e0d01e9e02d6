(() => {
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("data").textContent);
  const pictures = get("images").textContent.trim().split("\n");
  const unpacked = (text, Kind) => {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    return new Kind(bytes.buffer);
  };
  const caption = unpacked(data.caption, Int32Array), codes = unpacked(data.codes, Int32Array), values = unpacked(data.values, Float64Array);
  const isClasses = data.kind === "classes";
  const count = data.ids.length, calm = matchMedia("(prefers-reduced-motion: reduce)"), dark = matchMedia("(prefers-color-scheme: dark)");
  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 3 : 1 });
  const day = (value) => new Date(value * 1000).toISOString().slice(0, 10);
  const valueText = (value) => data.kind === "times" ? day(value) : data.kind === "integers" ? String(value) : number(value);
  const hasPicture = (i) => i < pictures.length && pictures[i].length > 1;
  const captionOf = (i) => caption[i] < 0 ? "" : data.captions[caption[i]];

  const points = unpacked(data.points, Float32Array);
  turn();
  const plot = new Plot(get("plot"), points, hasPicture);
  plot.pictureOf = (i) => "data:image/webp;base64," + pictures[i];
  plot.onpicture = () => redraw();
  let view = { x: 0, y: 0, k: 1 }, isMoving = false, settled = 0, frame = 0, hovered = -1, pinned = -1;

  // On a screen that is higher than wide a map that is wider than high is turned: its axes have no names.
  function turn() {
    const box = get("plot").getBoundingClientRect(), least = [Infinity, Infinity], most = [-Infinity, -Infinity];
    points.forEach((value, at) => { least[at % 2] = Math.min(least[at % 2], value); most[at % 2] = Math.max(most[at % 2], value); });
    if (box.height < 1.1 * box.width || most[0] - least[0] < 1.1 * (most[1] - least[1])) return;
    for (let i = 0; i < count; i++) [points[2 * i], points[2 * i + 1]] = [points[2 * i + 1], -points[2 * i]];
  }

  // What points are coloured by: the largest classes, the others, and no value; or ranges of a number.
  const bins = 24, entries = [];
  let low = 0, high = 1;
  if (isClasses) {
    const sizes = new Array(data.names.length).fill(0);
    let missing = 0;
    for (const code of codes) if (code < 0) missing++; else sizes[code]++;
    const own = Math.min(data.names.length, data.classes);
    for (let at = 0; at < own; at++) entries.push({ name: data.names[at], count: sizes[at] });
    const rest = data.names.length - own;
    if (rest) entries.push({ name: `${rest.toLocaleString("en")} other${rest > 1 ? "s" : ""}`, count: sizes.slice(own).reduce((sum, one) => sum + one, 0), kind: "rest" });
    if (missing) entries.push({ name: "no value", count: missing, kind: "none" });
    for (let i = 0; i < count; i++) plot.tone[i] = plot.entry[i] = codes[i] < 0 ? entries.length - 1 : Math.min(codes[i], own);
  } else {
    // Of the middle 98 %: one value that is far away would leave one colour to all others.
    const sorted = values.filter((one) => one === one).sort();
    low = sorted[Math.floor(0.01 * (sorted.length - 1))] ?? 0;
    high = sorted[Math.ceil(0.99 * (sorted.length - 1))] ?? 0;
    for (let bin = 0; bin < bins; bin++) entries.push({ count: 0 });
    entries.push({ name: "no value", count: count - sorted.length, kind: "none" });
    for (let i = 0; i < count; i++) {
      const share = high > low ? (values[i] - low) / (high - low) : 0.5;
      const bin = share === share ? Math.max(0, Math.min(bins - 1, Math.floor(share * bins))) : bins;
      entries[(plot.entry[i] = plot.tone[i] = bin)].count++;
    }
  }
  plot.off = entries.map(() => false);

  // Viridis, without the end that is not seen on the paper.
  const viridis = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const hex = (text) => [1, 3, 5].map((at) => parseInt(text.trim().slice(at, at + 2), 16));
  const ramp = (share) => {
    const at = (dark.matches ? 0.16 + 0.84 * share : 0.93 * share) * (viridis.length - 1), from = Math.min(viridis.length - 2, Math.floor(at));
    const [one, other] = [hex(viridis[from]), hex(viridis[from + 1])];
    return one.map((value, channel) => Math.round(value + (other[channel] - value) * (at - from)));
  };
  function recolour() {
    const style = getComputedStyle(document.documentElement), named = (name) => hex(style.getPropertyValue(name));
    plot.paper = named("--paper");
    plot.dimmed = named("--dim");
    plot.tones = entries.map((entry, at) => entry.kind ? named(entry.kind === "rest" ? "--soft" : "--none") : isClasses ? named(`--c${at}`) : ramp((at + 0.5) / bins));
    entries.forEach((entry, at) => entry.paint?.(`rgb(${plot.tones[at].join()})`));
    redraw();
  }

  function redraw() {
    if (!frame) frame = requestAnimationFrame(() => {
      frame = 0;
      const whole = plot.draw(view, isMoving);
      mark();
      if (!whole) settle();
    });
  }
  // All points are drawn when the map has stood still for a moment.
  function settle() {
    clearTimeout(settled);
    settled = setTimeout(() => { isMoving = false; redraw(); }, 140);
  }
  function look(next) {
    const home = plot.home(), { bounds } = plot;
    const k = Math.max(home.k * 0.5, Math.min(home.k * 800, next.k));
    view = { x: Math.max(bounds.left, Math.min(bounds.right, next.x)), y: Math.max(bounds.low, Math.min(bounds.high, next.y)), k };
    isMoving = true;
    settle();
    redraw();
  }
  function zoom(factor, px = plot.width / 2, py = plot.height / 2) {
    const home = plot.home(), k = Math.max(home.k * 0.5, Math.min(home.k * 800, view.k * factor));
    const x = view.x + (px - plot.width / 2) / view.k, y = view.y - (py - plot.height / 2) / view.k;
    look({ x: x - (px - plot.width / 2) / k, y: y + (py - plot.height / 2) / k, k });
  }
  let flight = 0;
  function fly(to, px, py) {
    cancelAnimationFrame(flight);
    if (calm.matches) return look(to);
    const from = { ...view }, begun = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - begun) / 320)), eased = 1 - (1 - t) ** 3, k = from.k * (to.k / from.k) ** eased;
      // Straight on the screen, though the scale changes.
      const share = Math.abs(to.k - from.k) < 1e-9 * from.k ? eased : (1 / from.k - 1 / k) / (1 / from.k - 1 / to.k);
      look({ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share, k });
      if (t < 1) flight = requestAnimationFrame(step);
    };
    flight = requestAnimationFrame(step);
  }
  function flyZoom(factor, px = plot.width / 2, py = plot.height / 2) {
    const k = view.k * factor, x = view.x + (px - plot.width / 2) / view.k, y = view.y - (py - plot.height / 2) / view.k;
    fly({ x: x - (px - plot.width / 2) / k, y: y + (py - plot.height / 2) / k, k });
  }

  // Rings around what is pointed at, and what is kept, on a canvas of their own.
  const over = get("over"), rings = over.getContext("2d");
  function mark() {
    rings.setTransform(plot.ratio, 0, 0, plot.ratio, 0, 0);
    rings.clearRect(0, 0, plot.width, plot.height);
    const { radius } = plot.grain(view.k), ink = getComputedStyle(document.documentElement);
    for (const [i, wide] of [[pinned, 3], [hovered, 2]]) {
      if (i < 0) continue;
      const box = plot.boxes.find((one) => one.i === i), [x, y] = plot.screen(view, i);
      rings.beginPath();
      if (box) {
        const shape = [box.left - 4, box.top - 4, box.right - box.left + 8, box.bottom - box.top + 8];
        if (rings.roundRect) rings.roundRect(...shape, 8); else rings.rect(...shape);
      } else rings.arc(x, y, Math.max(6, radius + 3), 0, 7);
      rings.lineWidth = wide + 2;
      rings.strokeStyle = ink.getPropertyValue("--paper");
      rings.stroke();
      rings.lineWidth = wide;
      rings.strokeStyle = ink.getPropertyValue("--ink");
      rings.stroke();
    }
  }

  const element = (tag, given = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), given);
    made.append(...children);
    return made;
  };
  function fill(card, i) {
    card.replaceChildren();
    const text = captionOf(i);
    if (hasPicture(i)) card.append(element("img", { src: plot.pictureOf(i), alt: text || data.ids[i] }));
    const body = element("div");
    if (text) body.append(element("p", { className: "caption", dir: "auto" }, text));
    body.append(element("p", { className: "id", dir: "auto" }, data.ids[i]));
    if (data.column !== null) {
      const said = isClasses ? (codes[i] < 0 ? "no value" : data.names[codes[i]]) : values[i] === values[i] ? valueText(values[i]) : "no value";
      const line = element("p", { className: "value" }, element("i"), element("bdi", {}, said));
      line.style.setProperty("--tone", `rgb(${plot.tones[plot.tone[i]].join()})`);
      line.title = data.column;
      body.append(line);
    }
    if (!hasPicture(i)) body.append(element("p", { className: "bare" }, "Its picture is not in this file."));
    card.append(body);
    card.hidden = false;
  }
  const hover = get("hover"), card = get("pinned");
  function point(i, px, py) {
    if (i !== hovered) {
      hovered = i;
      get("plot").classList.toggle("over", i >= 0);
      if (i < 0 || i === pinned) hover.hidden = true; else fill(hover, i);
      mark();
    }
    if (i >= 0 && !hover.hidden) {
      const box = hover.getBoundingClientRect();
      const left = px + 18 + box.width > plot.width - 8 ? px - 18 - box.width : px + 18;
      hover.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, Math.min(plot.height - box.height - 8, py - box.height / 3))}px)`;
    }
  }
  function pin(i) {
    pinned = i;
    if (i < 0) card.hidden = true;
    else {
      fill(card, i);
      hover.hidden = true;
      const near = element("div", { className: "near" });
      const others = plot.nearest(plot.xy[2 * i], plot.xy[2 * i + 1], 0.06 * plot.bounds.span, 6, (j) => j !== i && hasPicture(j));
      for (const j of others) {
        const button = element("button", { type: "button", title: captionOf(j) || data.ids[j] }, element("img", { src: plot.pictureOf(j), alt: captionOf(j) || data.ids[j] }));
        button.addEventListener("click", () => { pin(j); reveal(j); });
        near.append(button);
      }
      const close = element("button", { type: "button", className: "close", ariaLabel: "Close" });
      close.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 3l10 10M13 3L3 13"/></svg>';
      close.addEventListener("click", () => { pin(-1); get("plot").focus(); });
      card.append(near, close);
      get("said").textContent = captionOf(i) || data.ids[i];
    }
    mark();
  }
  // Bring a point into view, if it is not.
  function reveal(i) {
    const [x, y] = plot.screen(view, i);
    if (x < 30 || y < 30 || x > plot.width - 30 || y > plot.height - 30) fly({ x: plot.xy[2 * i], y: plot.xy[2 * i + 1], k: view.k });
  }

  // The legend.
  const legend = get("legend");
  function changed() {
    plot.forget();
    entries.forEach((entry, at) => entry.button?.setAttribute("aria-pressed", String(!plot.off[at])));
    const shown = entries.reduce((sum, entry, at) => sum + (plot.off[at] ? 0 : entry.count), 0);
    get("said").textContent = `${shown.toLocaleString("en")} of ${count.toLocaleString("en")} images are shown`;
    point(-1);
    redraw();
  }
  function spot(at) {
    plot.spot = at >= 0 && !plot.off[at] ? at : -1;
    redraw();
  }
  const list = element("ul", { className: "entries" });
  entries.forEach((entry, at) => {
    if (!entry.name || !entry.count) return;
    entry.button = element("button", { type: "button", className: entry.kind || "", title: entry.name }, element("i"), element("bdi", {}, entry.name), element("span", {}, entry.count.toLocaleString("en")));
    entry.button.setAttribute("aria-pressed", "true");
    entry.paint = (tone) => entry.button.style.setProperty("--tone", tone);
    entry.button.addEventListener("click", () => { plot.off[at] = !plot.off[at]; plot.spot = -1; changed(); });
    // A finger that touches it means to press it.
    entry.button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && entries.length > 1 && spot(at));
    entry.button.addEventListener("pointerleave", () => spot(-1));
    list.append(element("li", {}, entry.button));
  });
  if (!isClasses) {
    const most = Math.max(1, ...entries.slice(0, bins).map((entry) => entry.count));
    const bars = element("div", { className: "bars", ariaHidden: "true" }), strip = element("div", { className: "strip" }), ends = element("div", { className: "ends" });
    entries.slice(0, bins).forEach((entry) => {
      const bar = element("i");
      bar.style.height = `${100 * entry.count / most}%`;
      entry.paint = (tone) => { bar.style.background = tone; };
      entry.bar = bar;
      bars.append(bar);
    });
    const paintFirst = entries[0].paint;
    entries[0].paint = (tone) => {
      paintFirst(tone);
      strip.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => `rgb(${ramp(share).join()})`).join()})`;
    };
    // The ends stand for all that is beyond them.
    ends.append(...[0, 0.5, 1].map((share) => element("span", {}, valueText(data.kind === "integers" ? Math.round(low + share * (high - low)) : low + share * (high - low)))));
    const box = element("div", { className: "ramp" }, bars, strip, ends), sliders = [0, 1].map((end) => {
      const slider = element("input", { type: "range", min: 0, max: bins, value: end * bins });
      const said = () => { slider.ariaValueText = valueText(low + slider.value / bins * (high - low)); };
      slider.addEventListener("input", () => {
        if (+sliders[0].value >= +sliders[1].value) slider.value = end ? +sliders[0].value + 1 : +sliders[1].value - 1;
        for (let bin = 0; bin < bins; bin++) {
          plot.off[bin] = bin < +sliders[0].value || bin >= +sliders[1].value;
          entries[bin].bar.classList.toggle("off", plot.off[bin]);
        }
        said();
        changed();
      });
      return slider;
    });
    box.append(element("label", {}, "from", sliders[0]), element("label", {}, "to", sliders[1]));
    legend.append(box);
    const every = (off) => {
      sliders.forEach((slider, end) => { slider.value = end * bins; });
      for (let bin = 0; bin < bins; bin++) { plot.off[bin] = off; entries[bin].bar.classList.toggle("off", off); }
    };
    get("all").addEventListener("click", () => every(false));
    get("none").addEventListener("click", () => every(true));
  }
  legend.append(list);
  for (const [id, off] of [["all", false], ["none", true]]) {
    get(id).addEventListener("click", () => { plot.off.fill(off); changed(); });
    get(id).hidden = entries.length < 2;
  }
  get("fold").addEventListener("click", (event) => {
    const open = document.querySelector(".under").classList.toggle("open");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });

  // What is found.
  const find = get("find");
  let lowered = null, wait = 0;
  function search() {
    const text = find.value.trim().toLowerCase();
    if (!text) {
      plot.match = null;
      get("matches").textContent = "";
    } else {
      lowered ??= { ids: data.ids.map((one) => one.toLowerCase()), captions: data.captions.map((one) => one.toLowerCase()) };
      const has = lowered.captions.map((one) => one.includes(text));
      plot.match = new Uint8Array(count);
      let found = 0;
      for (let i = 0; i < count; i++) if ((caption[i] >= 0 && has[caption[i]]) || lowered.ids[i].includes(text)) { plot.match[i] = 1; found++; }
      get("matches").textContent = found.toLocaleString("en");
      get("said").textContent = `${found.toLocaleString("en")} images match`;
    }
    plot.forget();
    redraw();
  }
  find.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(search, count > 20000 ? 160 : 60); });
  find.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { find.value = ""; search(); get("plot").focus(); }
    if (event.key !== "Enter") return;
    search();
    const bounds = { left: Infinity, right: -Infinity, low: Infinity, high: -Infinity };
    for (let i = 0; i < count; i++) {
      if (!plot.match || !plot.isMeant(i)) continue;
      bounds.left = Math.min(bounds.left, plot.xy[2 * i]); bounds.right = Math.max(bounds.right, plot.xy[2 * i]);
      bounds.low = Math.min(bounds.low, plot.xy[2 * i + 1]); bounds.high = Math.max(bounds.high, plot.xy[2 * i + 1]);
    }
    if (bounds.left <= bounds.right) fly(plot.fit(bounds));
  });

  // Pointers: one moves, two zoom; one that has not moved points.
  const canvas = get("plot"), down = new Map();
  let start = null, lastTap = { at: -1e9, x: 0, y: 0 };
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const grip = () => {
    const held = [...down.values()], x = held.reduce((sum, one) => sum + one[0], 0) / held.length, y = held.reduce((sum, one) => sum + one[1], 0) / held.length;
    return { x, y, far: held.length > 1 ? Math.hypot(held[0][0] - held[1][0], held[0][1] - held[1][1]) : 0, view: { ...view } };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    cancelAnimationFrame(flight);
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    start = { ...grip(), moved: down.size > 1 };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = place(event);
    if (!down.has(event.pointerId)) {
      if (event.pointerType === "mouse") point(plot.at(view, px, py, 9), px, py);
      return;
    }
    down.set(event.pointerId, [px, py]);
    const now = grip();
    if (!start.moved && Math.hypot(now.x - start.x, now.y - start.y) < (event.pointerType === "mouse" ? 3 : 8)) return;
    start.moved = true;
    point(-1);
    canvas.classList.add("moving");
    const home = plot.home(), k = Math.max(home.k * 0.5, Math.min(home.k * 800, start.view.k * (start.far ? now.far / start.far : 1)));
    const x = start.view.x + (start.x - plot.width / 2) / start.view.k, y = start.view.y - (start.y - plot.height / 2) / start.view.k;
    look({ x: x - (now.x - plot.width / 2) / k, y: y + (now.y - plot.height / 2) / k, k });
  });
  const release = (event) => {
    if (!down.delete(event.pointerId)) return;
    const [px, py] = place(event), isTouch = event.pointerType !== "mouse", moved = start.moved;
    canvas.classList.remove("moving");
    if (down.size) { start = { ...grip(), moved: true }; return; }
    if (moved || event.type === "pointercancel") return;
    if (isTouch && event.timeStamp - lastTap.at < 320 && Math.hypot(px - lastTap.x, py - lastTap.y) < 30) {
      lastTap = { at: -1e9, x: 0, y: 0 };
      return flyZoom(2.2, px, py);
    }
    lastTap = { at: event.timeStamp, x: px, y: py };
    pin(plot.at(view, px, py, isTouch ? 20 : 9));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => down.size || point(-1));
  canvas.addEventListener("dblclick", (event) => flyZoom(event.shiftKey ? 1 / 2.2 : 2.2, ...place(event)));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    cancelAnimationFrame(flight);
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    point(-1);
    zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022)), ...place(event));
  }, { passive: false });

  // Keys.
  const togglePictures = () => {
    plot.pictures = !plot.pictures;
    get("pictures").setAttribute("aria-pressed", String(plot.pictures));
    redraw();
  };
  const step = 90;
  const keys = {
    ArrowLeft: () => fly({ ...view, x: view.x - step / view.k }), ArrowRight: () => fly({ ...view, x: view.x + step / view.k }),
    ArrowUp: () => fly({ ...view, y: view.y + step / view.k }), ArrowDown: () => fly({ ...view, y: view.y - step / view.k }),
    "+": () => flyZoom(1.6), "=": () => flyZoom(1.6), "-": () => flyZoom(1 / 1.6), 0: () => fly(plot.home()), Home: () => fly(plot.home()),
    p: togglePictures, P: togglePictures, Escape: () => pin(-1),
    Enter: () => pin(plot.nearest(view.x, view.y, Math.min(plot.width, plot.height) / 2 / view.k, 1)[0] ?? -1),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") return;
    if (event.key === "/") { event.preventDefault(); find.focus(); }
    if (event.key === "Escape" && event.target !== canvas) pin(-1);
  });
  get("in").addEventListener("click", () => flyZoom(1.6));
  get("out").addEventListener("click", () => flyZoom(1 / 1.6));
  get("reset").addEventListener("click", () => fly(plot.home()));
  get("pictures").addEventListener("click", togglePictures);
  get("pictures").parentElement.hidden = !pictures.some((one) => one.length > 1);

  dark.addEventListener("change", recolour);
  let first = true;
  new ResizeObserver(() => {
    const before = first ? null : plot.home().k;
    plot.resize();
    over.width = plot.canvas.width;
    over.height = plot.canvas.height;
    view = before === null ? plot.home() : { ...view, k: view.k * plot.home().k / before };
    if (first) recolour();
    first = false;
    // At once: a canvas that was resized is empty.
    plot.draw(view, false);
    mark();
  }).observe(canvas.parentElement);
})();
