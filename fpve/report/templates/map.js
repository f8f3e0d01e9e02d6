(() => {
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("data").textContent);
  const pictures = get("images").textContent.trim().split("\n");
  const unpacked = (text, Kind) => {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    return new Kind(bytes.buffer);
  };
  const caption = unpacked(data.caption, Int32Array), count = data.ids.length, dark = matchMedia("(prefers-color-scheme: dark)");
  const hasPicture = (i) => i < pictures.length && pictures[i].length > 1;
  const captionOf = (i) => caption[i] < 0 ? "" : data.captions[caption[i]];

  const points = unpacked(data.points, Float32Array), canvas = get("plot");
  Plot.turn(points, canvas.getBoundingClientRect());
  const plot = new Plot(canvas, points, hasPicture), camera = new Camera(plot);
  plot.pictureOf = (i) => "data:image/webp;base64," + pictures[i];
  plot.onpicture = () => camera.redraw();
  const legend = new Legend(plot, { ...data, codes: unpacked(data.codes, Int32Array), values: unpacked(data.values, Float64Array) });
  let hovered = -1, pinned = -1;

  function recolour() {
    const style = getComputedStyle(document.documentElement), named = (name) => style.getPropertyValue(name);
    const classes = Array.from({ length: data.classes }, (_, at) => named(`--c${at}`));
    legend.paint({ paper: named("--paper"), dimmed: named("--dim"), rest: named("--soft"), none: named("--none"), classes }, dark.matches);
    plot.glass = dark.matches ? "rgb(18 19 21 / 30%)" : null;
    camera.redraw();
  }

  // Rings around what is pointed at, and what is kept, on a canvas of their own.
  const over = get("over"), rings = over.getContext("2d");
  function mark() {
    const ink = getComputedStyle(document.documentElement);
    plot.ring(rings, camera.view, [[pinned, 3], [hovered, 2]], ink.getPropertyValue("--paper"), ink.getPropertyValue("--ink"));
  }
  camera.ondraw = mark;

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
      const line = element("p", { className: "value" }, element("i"), element("bdi", {}, legend.textOf(i)));
      line.style.setProperty("--tone", legend.toneOf(i));
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
      canvas.classList.toggle("over", i >= 0);
      if (i < 0 || i === pinned) hover.hidden = true; else fill(hover, i);
      mark();
    }
    if (i >= 0 && !hover.hidden) camera.beside(hover, px, py);
  }
  camera.onpoint = point;
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
        button.addEventListener("click", () => { pin(j); camera.reveal(j); });
        near.append(button);
      }
      const close = element("button", { type: "button", className: "close", ariaLabel: "Close" });
      close.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 3l10 10M13 3L3 13"/></svg>';
      close.addEventListener("click", () => { pin(-1); canvas.focus(); });
      card.append(near, close);
      get("said").textContent = captionOf(i) || data.ids[i];
    }
    mark();
  }
  camera.onpick = pin;

  get("legend").append(...legend.elements());
  legend.onchange = (shown) => {
    if (shown >= 0) {
      get("said").textContent = `${shown.toLocaleString("en")} of ${count.toLocaleString("en")} images are shown`;
      point(-1);
    }
    camera.redraw();
  };
  for (const [id, isOff] of [["all", false], ["none", true]]) {
    get(id).addEventListener("click", () => legend.every(isOff));
    get(id).hidden = legend.entries.length < 2;
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
    camera.redraw();
  }
  find.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(search, count > 20000 ? 160 : 60); });
  find.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { find.value = ""; search(); canvas.focus(); }
    if (event.key !== "Enter") return;
    search();
    const bounds = plot.match && plot.boundsOf((i) => plot.isMeant(i));
    if (bounds) camera.fly(plot.fit(bounds));
  });

  // Keys.
  const togglePictures = () => {
    plot.pictures = !plot.pictures;
    get("pictures").setAttribute("aria-pressed", String(plot.pictures));
    camera.redraw();
  };
  const keys = { p: togglePictures, P: togglePictures, Escape: () => pin(-1), Enter: () => pin(camera.middle()) };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) keys[event.key](); else if (!camera.press(event.key)) return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") return;
    if (event.key === "/") { event.preventDefault(); find.focus(); }
    if (event.key === "Escape" && event.target !== canvas) pin(-1);
  });
  get("in").addEventListener("click", () => camera.zoom(1.6));
  get("out").addEventListener("click", () => camera.zoom(1 / 1.6));
  get("reset").addEventListener("click", () => camera.home());
  get("pictures").addEventListener("click", togglePictures);
  get("pictures").parentElement.hidden = !pictures.some((one) => one.length > 1);

  dark.addEventListener("change", recolour);
  recolour();
  new ResizeObserver(() => {
    camera.resize();
    over.width = canvas.width;
    over.height = canvas.height;
    mark();
  }).observe(canvas.parentElement);
})();
