"""The page and its files: their URLs say which they are, and the first answer names all that the page will want."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

import fpve
from fpve.report.colouring import DARK
from fpve.report.plot import plot_module
from fpve.web import page_files

_IMPORT = re.compile(r'^import\b[^;"]*"([^"]+)";', re.MULTILINE)
_FILE = re.compile(r'(?:href|src)="(/files/[^"]+)"')


def _imported(client: TestClient, url: str) -> list[str]:
    """The URLs of a module and of all that it needs."""
    found, waiting = [], [url]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            waiting += [urljoin(one, name) for name in _IMPORT.findall(client.get(one).text)]
    return found


def test_the_page_has_the_scripts_of_the_reports_as_a_module() -> None:
    """Each file stands in it as it is, with the colours of classes, and what the page needs is exported."""
    script = plot_module()
    templates = Path(fpve.__file__).parent / "report" / "templates"
    for name in ("map-plot.js", "map-camera.js", "map-legend.js"):
        assert (templates / name).read_text(encoding="utf-8") in script
    assert f'"{DARK[-1]}"' in script
    assert script.endswith("export { Plot, Camera, Legend, TONES };\n")


def test_the_page_names_every_module_that_it_needs(client: TestClient) -> None:
    """A browser that learnt of one from another would wait for each in turn; and no module is left over."""
    text = client.get("/").text
    (main,) = re.findall(r'<script type="module" src="([^"]+)">', text)

    loaded = re.findall(r'<link rel="modulepreload" href="([^"]+)">', text)

    assert len(loaded) == len(set(loaded)) > 40
    assert {main, *loaded} == set(_imported(client, main))
    modules = {url for url in _files(client) if url.endswith(".js")}
    assert modules - {main, *loaded} == {urljoin(main, "first.js")}


def _files(client: TestClient) -> list[str]:
    """The URLs of all files that there are."""
    version = _FILE.findall(client.get("/").text)[0].split("/")[2]
    static = page_files.STATIC
    names = [file.relative_to(static).as_posix() for file in static.rglob("*.*") if file.suffix != ".html"]
    return [f"/files/{version}/{name}" for name in (*names, "plot.js")]


def test_a_browser_need_not_ask_again_for_a_file(client: TestClient) -> None:
    """It may keep a file under the URL that the page has for it; under another one it asks, and gets the newest."""
    asked = client.get("/")
    assert (asked.headers["cache-control"], asked.headers["content-type"]) == ("no-cache", "text/html; charset=utf-8")
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for url in _files(client):
        found = client.get(url)
        assert found.status_code == 200
        assert found.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert found.headers["content-type"].partition(";")[0] == types[Path(url).suffix]
    old = client.get("/files/of-an-older-one/plot.js")
    assert (old.text, old.headers["cache-control"]) == (plot_module(), "no-cache")
    assert client.get("/files/x/nothing.js").json() == {"error": "the page has no file 'nothing.js'"}
    for url in ("/files/x/../page.py", "/files/x/%2e%2e/routes/page.py", "/files/x//etc/passwd", "/files/x/index.html"):
        assert client.get(url).status_code == 404


def test_a_file_that_changes_has_another_url(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who works on the page, or brings fpve up to date, sees what is new at the next look."""
    static = shutil.copytree(page_files.STATIC, tmp_path / "static")
    monkeypatch.setattr(page_files, "STATIC", static)
    before = _FILE.findall(client.get("/").text)
    (static / "state.js").write_text("// another one\n", encoding="utf-8")

    after = _FILE.findall(client.get("/").text)

    assert len(before) == len(after)
    assert not set(before) & set(after)
    assert client.get(urljoin(after[0], "state.js")).text == "// another one\n"
