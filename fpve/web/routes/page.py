"""What the page fetches that is no file of its own: the script of the map, which reports have as well."""

from __future__ import annotations

import hashlib
from functools import cache

from fastapi import APIRouter, Request, Response

from fpve.report.plot import plot_module

router = APIRouter()


@router.get("/plot.js", include_in_schema=False)
def plot(request: Request) -> Response:
    """The classes that draw a map. A client that has them is told so."""
    script, tag = _plot()
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(script, media_type="text/javascript", headers=headers)


@cache
def _plot() -> tuple[str, str]:
    """The script, and the name of this version of it."""
    script = plot_module()
    return script, f'"{hashlib.sha256(script.encode()).hexdigest()[:16]}"'
