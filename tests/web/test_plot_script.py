"""The script of the map, which is the one of the reports as a module."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import fpve
from fpve.config import Job
from fpve.report.colouring import DARK
from fpve.report.plot import plot_module
from fpve.web.app import create_app


@pytest.fixture
def client(job: Job) -> TestClient:
    """A browser at the gallery of a store."""
    fpve.run(job)
    return TestClient(create_app(job.store), base_url="http://127.0.0.1:8000")


def test_the_page_has_the_scripts_of_the_reports_as_a_module() -> None:
    """Each file stands in it as it is, with the colours of classes, and what the page needs is exported."""
    script = plot_module()
    templates = Path(fpve.__file__).parent / "report" / "templates"
    for name in ("map-plot.js", "map-camera.js", "map-legend.js"):
        assert (templates / name).read_text(encoding="utf-8") in script
    assert f'"{DARK[-1]}"' in script
    assert script.endswith("export { Plot, Camera, Legend, TONES };\n")


def test_a_browser_that_has_the_script_is_told_so(client: TestClient) -> None:
    """The first answer has it with a tag; whoever names the tag gets no second copy."""
    first = client.get("/plot.js")
    assert (first.status_code, first.text) == (200, plot_module())
    assert first.headers["content-type"].startswith("text/javascript")
    again = client.get("/plot.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get("/plot.js", headers={"If-None-Match": '"another"'}).status_code == 200
