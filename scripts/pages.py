"""Write every kind of page that fpve has, and see in a browser that each is what it should be.

usage: .venv/bin/python scripts/pages.py [STORE --label COLUMN] [--output DIR] [--chromium FILE]
       .venv/bin/python scripts/pages.py --page FILE.html [--page …]

Without a store it makes a small one, with names and captions that want to be more than text. Each page is opened from
disk on a wide screen and on a phone, light and dark: it must ask for nothing but itself, say nothing on the console,
fit the width, show all of its pictures, and sort and filter its lists as it says. With --output the pages stay there,
with a picture of each. Prints a table, what is wrong below it, and exits with 1 if something is.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
# In place of this script's own folder.
sys.path[:1] = [str(ROOT / "tests")]

SCREENS = ((1440, 900, "light"), (390, 844, "dark"))
ROW = "{:<18} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}"


@dataclass
class Checked:
    """What was seen of a page."""

    size: int = 0
    pictures: int = 0
    requests: int = 0
    console: int = 0
    wider: int = 0
    lists: int = 0
    orders: int = 0
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    """Write the pages, look at them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path)
    parser.add_argument("--label", help="a column of classes; needed with a store")
    parser.add_argument("--output", type=Path, help="a folder for the pages, and for pictures of them")
    parser.add_argument("--page", type=Path, action="append", default=[], help="look at this page, and write none")
    parser.add_argument("--chromium", help="the browser; by default that of the PATH")
    given = parser.parse_args()
    if (given.store is None) != (given.label is None):
        parser.error("give it a STORE and --label COLUMN, or neither")
    from chromium import chromium

    with tempfile.TemporaryDirectory(prefix="fpve-pages-") as scratch, chromium(given.chromium) as browser:
        folder = given.output or Path(scratch) / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        seen = {}
        print(ROW.format("page", "kB", "pictures", "requests", "console", "wider", "lists", "orders"))
        pages = ((page.stem, page, None) for page in given.page)
        for name, page, failed in pages if given.page else written(given.store, given.label, folder, Path(scratch)):
            seen[name] = one = check(browser, page, folder) if failed is None else Checked(wrong=[failed])
            figures = (one.size // 1000, one.pictures, one.requests, one.console, one.wider, one.lists, one.orders)
            print(ROW.format(name, *(figures if failed is None else ["-"] * len(figures))), flush=True)
    wrong = [f"{name}: {text}" for name, one in seen.items() for text in dict.fromkeys(one.wrong)]
    print("\n".join(["", *wrong]) if wrong else f"\n{len(seen)} pages, nothing wrong")
    return 1 if wrong else 0


def written(
    store: Path | None, label: str | None, folder: Path, scratch: Path
) -> Iterator[tuple[str, Path, str | None]]:
    """Every page by its name and file, and why it could not be written, if so."""
    from drawings import LONG, NASTY_KIND, make_store

    if store is None or label is None:
        store, label = make_store(scratch), "kind"
    files, ids = examples(store, scratch / "queries")
    table = scratch / "queries.csv"
    rows = [("query_id", "text"), (NASTY_KIND, "a red disc"), ("long", LONG), ("empty", "")]
    with table.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)
    alone = "'" + ids[-1].replace("'", "''") + "'"
    known = '"' + label.replace('"', '""') + '" IS NOT NULL'
    commands: dict[str, list[Any]] = {
        "search-image": ["search", store, "--image", files[0], "-k", 40],
        "search-both": ["search", store, "--image", files[0], "--text", f"{NASTY_KIND} {LONG}", "-k", 40],
        "search-text": ["search", store, "--text", "a red disc", "--where", known, "-k", 40],
        "search-id": ["search", store, "--id", ids[0], "-k", 40],
        "search-table": ["search", store, "--queries", table],
        "search-folder": ["search", store, "--queries", files[0].parent],
        "search-none": ["search", store, "--id", ids[0], "--min-score", 1],
        "duplicates": ["duplicates", store],
        "duplicates-none": ["duplicates", store, "--where", f"image_id = {alone}"],
        "outliers": ["outliers", store],
        "outliers-all": ["outliers", store, "--all"],
        "mislabeled": ["mislabeled", store, "--label", label],
        "evaluate": ["evaluate", store, "--label", label],
        "ablation": ["evaluate", store, "--label", label, "--ablation"],
        "classify": ["classify", store, *files, "--label", label],
        "map": ["map", store],
        "map-color": ["map", store, "--color", label],
    }
    for name, command in commands.items():
        page = folder / f"{name}.html"
        words = [sys.executable, "-m", "fpve", *map(str, command), "--html", str(page)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        # 3 says that some queries have no answer, as is right.
        ok = done.returncode in (0, 3) and page.exists()
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        yield name, page, None if ok else f"can't be written: {said}"


def examples(store: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Pictures to ask by, from a store's own thumbnails, one with a name that wants to be more; and some image_ids."""
    from drawings import NASTY_FILE

    import fpve

    with fpve.open(store) as opened:
        every = opened.images["image_id"].to_pylist()
        ids = every[:: max(1, len(every) // 5)]
        thumbnails = opened.thumbnails(ids)
    folder.mkdir()
    files = []
    for number, (image_id, jpeg) in enumerate(thumbnails.items()):
        files.append(folder / (f"{number}.jpg" if number else NASTY_FILE.replace(".png", ".jpg")))
        files[-1].write_bytes(jpeg)
        if not number:
            ids.insert(0, image_id)
    return files, ids


def check(browser: Browser, file: Path, folder: Path) -> Checked:
    """Open a page on each screen, and use what it has."""
    seen = Checked(size=file.stat().st_size)
    for width, height, scheme in SCREENS:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        address = file.absolute().as_uri()
        listen(page, address, seen)
        page.goto(address)
        page.wait_for_load_state("networkidle")
        seen.pictures, broken = page.evaluate(PICTURES)
        if broken:
            seen.wrong.append(f"{broken} pictures are not shown, or not told in words")
        looked_at(page, seen, width)
        nameless = page.evaluate(NAMELESS)
        seen.wrong += [f"a control has no name: {one}" for one in nameless]
        page.screenshot(path=folder / f"{file.stem}-{width}-{scheme}.png")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        looked_at(page, seen, width)
        use_tables(page, seen)
        use_lists(page, seen)
        page.close()
    return seen


def listen(page: Page, address: str, seen: Checked) -> None:
    """Note what a page asks for, says and does."""

    def requested(request: Any) -> None:
        if request.url != address and not request.url.startswith(("data:", "blob:")):
            seen.requests += 1
            seen.wrong.append(f"asks for {request.url[:100]}")

    def said(message: Any) -> None:
        seen.console += 1
        seen.wrong.append(f"says {message.type}: {message.text[:200]}")

    def failed(error: Any) -> None:
        seen.console += 1
        seen.wrong.append(f"fails: {str(error)[:200]}")

    def alerted(dialog: Any) -> None:
        seen.wrong.append(f"runs what is text: {dialog.message[:100]}")
        dialog.dismiss()

    page.on("request", requested)
    page.on("console", said)
    page.on("pageerror", failed)
    page.on("dialog", alerted)


def looked_at(page: Page, seen: Checked, width: int) -> None:
    """Note by how much a page is wider than the screen."""
    more = page.evaluate("document.documentElement.scrollWidth") - width
    if more > 0:
        seen.wider = max(seen.wider, more)
        seen.wrong.append(f"is {more} px wider than {width}: {page.evaluate(WIDE, width)}")


def use_tables(page: Page, seen: Checked) -> None:
    """Sort tables by each of their headings."""
    for button in page.locator("table.sortable th button").all():
        button.click()
        if button.evaluate("one => one.closest('th').ariaSort") is None:
            seen.wrong.append("a table is not sorted by its heading")


def use_lists(page: Page, seen: Checked) -> None:
    """Put the lists of a page into each order, both ways, by the keyboard, and filter them."""
    seen.lists = page.locator(".arranged").count()
    controls = page.locator(".arrange")
    if not controls.count():
        return
    select, button, entry = controls.locator("select"), controls.locator("button"), controls.locator("input")
    if not controls.is_visible():
        seen.wrong.append("its controls are hidden")
        return
    select.focus()
    for expected in ("BUTTON", "INPUT"):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") != expected:
            seen.wrong.append(f"the keyboard does not lead to its {expected.lower()}")
    options = select.locator("option").evaluate_all("all => all.map(one => ({key: one.value, ...one.dataset}))")
    seen.orders = len(options)
    for option in options:
        select.select_option(option["key"])
        for falls in (bool(option["falls"]), not option["falls"]):
            if not page.evaluate(SORTED, [option["key"], option["kind"] == "text", falls]):
                seen.wrong.append(f"is not sorted by {option['key']}, {'falling' if falls else 'rising'}")
            button.press("Enter")
    select.select_option(options[0]["key"])
    every = page.locator(".arranged > *").count()
    word = page.evaluate(WORD)
    for text, least, most in ((word, 1, every), ("no such word", 0, 0), ("", every, every)):
        entry.fill(text)
        shown, wrong = page.evaluate(FILTERED, text)
        if not least <= shown <= most or wrong:
            seen.wrong.append(f"shows {shown} of {every} for {text!r}, and {wrong} that do not have it")


# All pictures are there at once: those below the screen are only loaded when they are seen.
PICTURES = """async () => {
  const all = [...document.images];
  for (const one of all) one.loading = "eager";
  await Promise.allSettled(all.map(one => one.decode()));
  return [all.length, all.filter(one => !one.naturalWidth || !one.alt).length];
}"""
NAMELESS = """() => {
  const isNamed = one => one.ariaLabel || one.labels?.length || one.title;
  return [...document.querySelectorAll("button, select, input, [role=img], [role=region]")]
    .filter(one => !isNamed(one) && !(one.tagName === "BUTTON" && one.textContent.trim()))
    .map(one => one.outerHTML.slice(0, 80));
}"""
WIDE = """width => {
  const wide = [...document.body.querySelectorAll("*")].filter(one => one.getBoundingClientRect().right > width + 1);
  const last = wide.at(-1);
  return last ? `${last.tagName} ${last.className} ${last.textContent.trim().slice(0, 40)}` : "";
}"""
SORTED = """([key, isText, falls]) => [...document.querySelectorAll(".arranged")].every(list => {
  const values = [...list.children].map(one => one.getAttribute(`data-${key}`));
  const known = values.filter(one => one !== null);
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const rises = (one, other) => isText ? compare(one, other) <= 0 : Number(one) <= Number(other);
  const isSorted = known.every((one, at) => !at || (falls ? rises(one, known[at - 1]) : rises(known[at - 1], one)));
  return isSorted && values.slice(known.length).every(one => one === null);
})"""
WORD = """() => {
  const last = [...document.querySelectorAll(".arranged > *")].at(-1);
  return last.textContent.match(/[a-z]{4,}/g).at(-1).toUpperCase();
}"""
FILTERED = """word => {
  const shown = [...document.querySelectorAll(".arranged > *")].filter(one => one.checkVisibility());
  const heading = one => one.closest("section")?.querySelector("h2")?.textContent ?? "";
  const has = one => `${heading(one)} ${one.textContent}`.toLowerCase().includes(word.toLowerCase());
  return [shown.length, shown.filter(one => !has(one)).length];
}"""


if __name__ == "__main__":
    sys.exit(main())
