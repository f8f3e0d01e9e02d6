"""Take pictures of the gallery: each view, on a wide screen and on a phone, light and dark.

usage: .venv/bin/python scripts/gallery.py STORE [--output DIR] [--address 'q=a red bicycle'] [--size 1440x900]

Without an --address (what stands after the ? of the page's own) it goes through all views; one may be given many times.
Each picture is called after what it shows. Prints what was wrong with a page, and exits with 1 if anything was.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from serving import Server

# In place of this script's own folder.
sys.path[:1] = [str(Path(__file__).resolve().parents[1] / "tests")]

VIEWS = ("gallery", "map", "duplicates", "outliers", "labels", "quarantine", "runs")
PHONE = (390, 844)


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--output", type=Path, default=Path("gallery"), help="a folder (gallery)")
    parser.add_argument("--address", action="append", help="what the page is to show; by default each view")
    parser.add_argument("--size", default="1440x900", help="of the wide screen (1440x900)")
    given = parser.parse_args()
    from chromium import chromium
    from serving import serving

    given.output.mkdir(parents=True, exist_ok=True)
    wide = tuple(int(one) for one in given.size.split("x"))
    wrong = []
    with serving(given.store) as server, chromium() as browser:
        for address in given.address or [f"view={view}" for view in VIEWS]:
            for size in (wide, PHONE):
                for scheme in ("light", "dark"):
                    name = f"{re.sub(r'[^a-z0-9]+', '-', address.lower()).strip('-')}-{size[0]}-{scheme}"
                    wrong += [
                        f"{name}: {one}"
                        for one in _picture(browser, server, address, size, scheme, given.output / f"{name}.png")
                    ]
    print("\n".join(wrong) if wrong else f"{given.output}: nothing wrong")
    return 1 if wrong else 0


def _picture(
    browser: Browser, server: Server, address: str, size: tuple[int, ...], scheme: str, file: Path
) -> list[str]:
    """Take one; what was wrong."""
    from web.browser.screen import Screen

    # Twice as fine, as on the screens of most who look at a README.
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=2,
        reduced_motion="reduce",
    )
    screen = Screen(context.new_page(), server)
    screen.page.goto(f"{server.address}?{address}")
    screen.settle()
    screen.page.wait_for_load_state("networkidle")
    screen.page.screenshot(path=file)
    context.close()
    return screen.watch.wrong


if __name__ == "__main__":
    sys.exit(main())
