"""How soon the gallery is there, and how smoothly it scrolls: of 1,000 images and of 100,000, in Chromium.

    .venv/bin/python scripts/bench/serve/paint.py [STORE …] [--rows 1000 100000] [--loads 7] [--latency 100]

Of each store, given or made (synthetic, with thumbnails), the page is opened so many times in a browser that knows
nothing of it; the stores take turns. Times are from the beginning of the navigation.

    first paint   Chromium's first contentful paint
    thumbnail     the first thumbnail is drawn; screenful: all tiles on the screen have theirs
    facets        the first column of the sidebar has its values

With --latency each request takes so many milliseconds longer, as to a server that is far away, and each page is opened
a second time, in a browser that knows its files; nothing is scrolled.

Without it the grid is scrolled, at the speed of somebody who looks (four screens a second), and through all of it in
some seconds: milliseconds between two frames, the share of frames of which a quarter or more had no images yet, the
most nodes that the page ever had, and, at the end, how long until the last screenful is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# The store and the table are those of other benchmarks, servers and browsers are started as tests do.
sys.path.append(str(Path(__file__).resolve().parents[3] / "tests"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "curation"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "search"))

from chromium import chromium
from collection import plant
from measure import header, print_table
from playwright.sync_api import Browser, Page
from scale import make
from serving import Server, serving

SIZE = {"width": 1440, "height": 900}
TIMES = ("first paint", "thumbnail", "screenful", "facets")
SPEEDS = ("looking", "through all")
SCROLLED = ("frame p50 ms", "frame p99 ms", "frames with gaps %", "most nodes", "end ms")
# Milliseconds: of somebody who looks, and at most of what has to come.
LOOKING, PATIENCE = 4_000, 60_000
# Looks at each frame for what is there, beginning before anything of the page does.
WATCH = """(() => {
  const seen = window.__seen = {};
  const note = (name, is) => { if (!(name in seen) && is()) seen[name] = performance.now(); };
  const tiles = () => [...document.querySelectorAll("#view-gallery [role=option]")].filter(one => {
    const at = one.getBoundingClientRect();
    return one.ariaPosInSet && at.width && at.bottom > 0 && at.top < innerHeight;
  });
  const isDrawn = one => { const image = one.querySelector("img"); return image?.complete && image.naturalWidth > 0; };
  window.__tiles = tiles;
  window.__isDrawn = isDrawn;
  const look = () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    if (paint) seen["first paint"] = paint.startTime;
    if (document.body) {
      note("thumbnail", () => tiles().some(isDrawn));
      note("screenful", () => tiles().length > 0 && tiles().every(isDrawn));
      note("facets", () => document.querySelector("#sidebar details .value-count, #sidebar details .bins i"));
    }
    if (Object.keys(seen).length < 4) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""
ALL_SEEN = """async ([names, patience]) => {
  const end = performance.now() + patience;
  while (!names.every(name => name in __seen) && performance.now() < end) await new Promise(requestAnimationFrame);
  return __seen;
}"""
# Scrolls so many pixels a second, for so long or to the end.
SCROLL = """async ([speed, patience]) => {
  const grid = document.querySelector("#view-gallery .scroller"), frames = [];
  const lowest = grid.scrollHeight - grid.clientHeight, pace = speed ?? lowest / 5_000;
  const { port1, port2 } = new MessageChannel();
  const filled = () => __tiles().filter(one => one.querySelector(".caption").textContent).length, full = filled();
  let gaps = 0, nodes = 0, at = await new Promise(requestAnimationFrame), top = 0;
  const begun = at;
  grid.scrollTop = 0;
  while (top < lowest && (speed === null || at - begun < patience)) {
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - at);
    grid.scrollTop = top = Math.min(lowest, top + pace * (now - at));
    at = now;
    // When this frame has been painted.
    await new Promise(resolve => { port1.onmessage = resolve; port2.postMessage(0); });
    gaps += filled() < 0.75 * full;
    nodes = Math.max(nodes, document.getElementsByTagName("*").length);
  }
  const ended = performance.now();
  while (!(__tiles().length && __tiles().every(__isDrawn)) && performance.now() - ended < 10_000)
    await new Promise(requestAnimationFrame);
  return { frames, gaps: gaps / frames.length, nodes, end: performance.now() - ended };
}"""


def main() -> int:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--loads", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds that each request takes longer (0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fpve-paint-") as folder, ExitStack() as stack:
        stores = options.stores
        for rows in options.rows if not stores else ():
            stores.append(Path(folder) / f"store-{rows}")
            make(stores[-1], plant(rows))
        servers = [stack.enter_context(serving(store)) for store in stores]
        browser = stack.enter_context(chromium())
        print(f"{header(('playwright',))}, Chromium {browser.version}")
        loads: list[list[list[dict[str, float]]]] = [[[] for _ in servers] for _ in range(2 if options.latency else 1)]
        for number in range(-1, options.loads):
            for at, server in enumerate(servers):
                told = _load(browser, server, options.latency)
                # The first one is for warmth.
                for mine, one in zip(loads, told, strict=True) if number >= 0 else ():
                    mine[at].append(one)
        names = [_name(browser, server) for server in servers]
        for mine in loads:
            print_table(("", *(f"{one} ms" for one in TIMES)), [*_times(names, mine)])
            print()
        if options.latency:
            return 0
        rows = [
            _scrolled(browser, server, name, speed)
            for server, name in zip(servers, names, strict=True)
            for speed in SPEEDS
        ]
        print_table(("", *SCROLLED), rows)
    return 0


def _open(browser: Browser, server: Server, latency: float = 0) -> Page:
    page = browser.new_context(viewport=SIZE).new_page()
    page.add_init_script(WATCH)
    if latency:
        far = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", far)
    page.goto(server.address)
    return page


def _load(browser: Browser, server: Server, latency: float) -> list[dict[str, float]]:
    """When a page was there that is opened for the first time; with a latency, and for the second time."""
    page = _open(browser, server, latency)
    told = [_seen(page, server)]
    if latency:
        page.goto(server.address)
        told.append(_seen(page, server))
    page.context.close()
    return told


def _seen(page: Page, server: Server) -> dict[str, float]:
    told: dict[str, float] = page.evaluate(ALL_SEEN, [TIMES, PATIENCE])
    if missing := [name for name in TIMES if name not in told]:
        sys.exit(f"{server.address}: expected {', '.join(missing)} within {PATIENCE / 1000:.0f} s")
    return told


def _name(browser: Browser, server: Server) -> str:
    """How many images there are."""
    page = _open(browser, server)
    images = page.evaluate("() => fetch('/api/status').then(answer => answer.json()).then(status => status.images)")
    page.context.close()
    return f"{images:,} images"


def _times(names: list[str], loads: list[list[dict[str, float]]]) -> list[list[str]]:
    medians = [{name: statistics.median(one[name] for one in mine) for name in TIMES} for mine in loads]
    rows = [[name, *(f"{mine[one]:.0f}" for one in TIMES)] for name, mine in zip(names, medians, strict=True)]
    for name, mine in zip(names[1:], loads[1:], strict=True):
        pairs = list(zip(mine, loads[0], strict=True))
        rows.append(
            [f"{name} / {names[0]}", *(f"{statistics.median(a[one] / b[one] for a, b in pairs):.2f}" for one in TIMES)]
        )
    return rows


def _scrolled(browser: Browser, server: Server, name: str, speed: str) -> list[str]:
    page = _open(browser, server)
    page.evaluate(ALL_SEEN, [TIMES, PATIENCE])
    pace = 4 * SIZE["height"] / 1_000 if speed == "looking" else None
    told: dict[str, Any] = page.evaluate(SCROLL, [pace, LOOKING])
    page.context.close()
    frames = sorted(told["frames"])
    p50, p99 = frames[len(frames) // 2], frames[int(0.99 * (len(frames) - 1))]
    return [
        f"{name}, {speed}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{100 * told['gaps']:.0f}",
        f"{told['nodes']:,}",
        f"{told['end']:.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
