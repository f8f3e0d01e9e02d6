"""What load.py compares `fpve serve` with: the web service of README.md, as anybody would write it in a minute.

    .venv/bin/python scripts/bench/serve/rival.py STORE FOLDER

FOLDER has the thumbnails as files. It listens at a free port of this machine, and says which.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi.staticfiles import StaticFiles

import fpve

app = FastAPI()
store = fpve.open(sys.argv[1])


@app.get("/search")
def search(text: str, k: int = 10) -> list[dict]:
    store.refresh()
    try:
        return store.search(text=text, k=min(k, 100)).to_arrow().to_pylist()
    except fpve.FpveError as error:
        raise HTTPException(400, str(error)) from error


@app.get("/thumbnails/{image_id:path}")
def thumbnail(image_id: str) -> Response:
    try:
        return Response(store.thumbnail(image_id), media_type="image/jpeg")
    except fpve.errors.ImageNotFound as error:
        raise HTTPException(404, str(error)) from error


@app.get("/images")
def images(offset: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """Of README.md only in spirit: a page of all images."""
    store.refresh()
    return store.images.slice(offset, limit).to_pylist()


app.mount("/files", StaticFiles(directory=sys.argv[2]))

if __name__ == "__main__":
    uvicorn.run(app, port=0, access_log=False)
