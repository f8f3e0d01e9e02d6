"""The page and its files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from fpve.web.page_files import STATIC, TYPES, PageFiles
from fpve.web.refusals import Refused

router = APIRouter(include_in_schema=False)

# What the page names of its own files, which are all below its root.
_NAMED = re.compile(r'(href|src)="/(?=[\w/-]+\.\w)')
# A year, which is what caches take for ever to be.
_FOR_EVER = "private, max-age=31536000, immutable"


async def _files_of(request: Request) -> PageFiles:
    found: PageFiles = request.app.state.page_files
    return found


_Files = Annotated[PageFiles, Depends(_files_of)]


@router.get("/")
def page(files: _Files) -> Response:
    """The page. Its files have another URL as soon as any of them is another, so that browsers need never ask again."""
    files.look()
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    return Response(_NAMED.sub(rf'\1="/files/{files.version}/', text), media_type="text/html")


# Async, so that no thread is waited for: it is in memory.
@router.get("/files/{version}/{name:path}")
async def file(version: str, name: str, files: _Files) -> Response:
    """A file of the page."""
    content = files.get(name)
    if content is None:
        raise Refused(404, f"the page has no file {name[:200]!r}")
    headers = {"Cache-Control": _FOR_EVER} if version == files.version else None
    return Response(content, media_type=TYPES[PurePosixPath(name).suffix], headers=headers)
