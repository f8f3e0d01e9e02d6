"""One image over HTTP: what is known of it, its thumbnail, and its original if that is still what the store knows."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from samples import draw, make_job
from serving import serving
from web.conftest import Gallery

import fpve
from fpve import images


def test_an_image_is_told_in_full(client: TestClient, asked_store: Path) -> None:
    """Its row, its file, where its prefix came from, and the other images of the same content."""
    data = (asked_store.parent / "pictures/00.png").read_bytes()
    content = hashlib.sha256(data).hexdigest()
    found = client.get("/api/images/pets/00.png").json()
    provenance = found.pop("provenance")
    prefix_id = found.pop("prefix_id")
    assert found == {
        "image_id": "pets/00.png",
        "collection": "pets",
        "path": str(asked_store.parent / "pictures/00.png"),
        "prefix": "cat number 0",
        "width": 40,
        "height": 30,
        "metadata": {"caption": "cat number 0", "kind": "cat", "price": 0.5, "taken": "2024-01-01T12:00:00Z"},
        "thumbnail": f"/api/thumbnails/pets/00.png?v={content[:16]}",
        "snapshot": 1,
        "content_hash": content,
        "bytes": len(data),
        "copies": ["pets/12.png"],
        "has_picture": True,
    }
    assert provenance.pop("created_at").endswith("Z")
    assert provenance == {"origin": "template", "template": "{caption}", "model": None, "prompt": None}
    assert prefix_id == fpve.open(asked_store).images["prefix_id"][0].as_py()
    bare = client.get("/api/images/pets/03.png").json()
    assert (bare["prefix"], bare["prefix_id"], bare["provenance"], bare["copies"]) == (None, None, None, [])


def test_a_thumbnail_can_be_kept_for_ever(client: TestClient, asked_store: Path) -> None:
    """By the URL that its image has; by another one it is asked for again, and not sent twice."""
    url = client.get("/api/images/pets/00.png").json()["thumbnail"]
    response = client.get(url)
    assert response.content == fpve.open(asked_store).thumbnail("pets/00.png")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    for other in ("/api/thumbnails/pets/00.png", "/api/thumbnails/pets/00.png?v=0000000000000000"):
        again = client.get(other)
        assert (again.content, again.headers["cache-control"]) == (response.content, "private, no-cache")
        unchanged = client.get(other, headers={"If-None-Match": again.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(response.content)))
    missing = client.get("/api/thumbnails/pets/99.png")
    assert missing.status_code == 404
    assert "no image 'pets/99.png'" in missing.json()["error"]


def test_an_original_is_shown_as_far_as_it_is_wanted(client: TestClient, asked_store: Path) -> None:
    """As a JPEG of at most so many pixels a side."""
    response = client.get("/api/pictures/pets/00.png")
    original = images.decode((asked_store.parent / "pictures/00.png").read_bytes()).image
    assert response.content == images.thumbnail(original, 1600)
    assert response.headers["content-type"] == "image/jpeg"
    small = client.get("/api/pictures/pets/00.png", params={"side": 20})
    assert Image.open(io.BytesIO(small.content)).size == (20, 15)
    unchanged = client.get("/api/pictures/pets/00.png", headers={"If-None-Match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert small.headers["etag"] != response.headers["etag"]
    assert client.get("/api/pictures/pets/00.png", params={"side": 2049}).status_code == 400


def test_another_file_in_its_place_is_not_shown(gallery: Gallery, own_store: Path, pictures: Path) -> None:
    """A picture that was changed, a link to another file, a pipe, a folder, nothing: none is what the store knows."""
    client = gallery(own_store)
    original = pictures / "cat/00.png"
    secret = pictures.parent / "secret.png"
    draw(secret, 99)

    def refused() -> str:
        response = client.get("/api/pictures/pets/cat/00.png")
        assert response.status_code == 404
        return str(response.json()["error"])

    original.unlink()
    assert refused() == "pets/cat/00.png: its file is not there"
    assert client.get("/api/images/pets/cat/00.png").json()["has_picture"] is False
    original.symlink_to(secret)
    assert refused() == "pets/cat/00.png: its file is another one by now; run its job again"
    original.unlink()
    original.symlink_to("/etc/passwd")
    assert refused() == "pets/cat/00.png: its file is another one by now; run its job again"
    original.unlink()
    os.mkfifo(original)
    assert refused() == "pets/cat/00.png: its file can't be read: not a regular file"
    original.unlink()
    original.mkdir()
    assert "can't be read" in refused()
    original.rmdir()
    shutil.copy(pictures / "dog/01.png", original)
    assert "another one by now" in refused()
    # One that is the same at another place is shown.
    original.unlink()
    draw(original, 0)
    assert client.get("/api/pictures/pets/cat/00.png").status_code == 200


def test_originals_of_archives_and_odd_names_are_found(tmp_path: Path) -> None:
    """A member of a tar archive; names with percent signs, spaces, line breaks, and bytes that are no UTF-8."""
    source = tmp_path / "50%41 off #?"
    names = [b"100%41.png", b"a\nb?c#d .png", b"caf\xc3\xa9.png", b"\xff%41.png", b"sub\n/\xfe.png"]
    files = [Path(os.fsdecode(os.fsencode(source) + b"/" + name)) for name in names]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(tmp_path / "one.png", number)
        (tmp_path / "one.png").rename(file)
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        for file in files[:3]:
            tar.add(file, f"in/{file.name}")
    for place, count in ((source, 5), (archive, 3)):
        store = tmp_path / f"store of {place.name}"
        fpve.run(make_job(store, place, metadata=None, prefix=None))
        ids = fpve.open(store).images["image_id"].to_pylist()
        assert len(ids) == count
        with serving(store) as server, httpx.Client(base_url=server.address) as client:
            for image_id in ids:
                told = client.get(f"/api/images/{quote(image_id)}").json()
                assert (told["image_id"], told["has_picture"]) == (image_id, True)
                assert client.get(f"/api/pictures/{quote(image_id)}").status_code == 200
                assert client.get(told["thumbnail"]).status_code == 200
            if place is archive:
                archive.unlink()
                assert client.get(f"/api/images/{quote(ids[0])}").json()["has_picture"] is False
                assert client.get(f"/api/pictures/{quote(ids[0])}").status_code == 404


def test_a_picture_that_does_not_decode_any_more_is_not_shown(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there and the same, and a newer Pillow refuses it: that is said."""

    def decode(data: bytes, *, enough: int) -> None:
        raise fpve.errors.ImageError("a PNG that is damaged")

    monkeypatch.setattr("fpve.images.decode", decode)
    response = client.get("/api/pictures/pets/01.png")
    assert response.status_code == 404
    assert response.json()["error"] == "pets/01.png: its file can't be shown: a PNG that is damaged"


def test_a_store_of_vectors_has_no_pictures(gallery: Gallery, tmp_path: Path) -> None:
    """Collections that were imported have neither thumbnails nor originals: each is said."""
    vectors = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)
    table = pa.table({"image_id": ["a", "b", "c"], "path": ["/etc/passwd"] * 3, "vector": vectors.tolist()})
    pq.write_table(table, tmp_path / "vectors.parquet")
    fpve.import_vectors(tmp_path / "imported", vectors=tmp_path / "vectors.parquet", collection="old")
    client = gallery(tmp_path / "imported")
    for image_id in fpve.open(tmp_path / "imported").images["image_id"].to_pylist():
        told = client.get(f"/api/images/{quote(image_id)}").json()
        assert (told["thumbnail"], told["has_picture"]) == (None, False)
        assert client.get(f"/api/thumbnails/{quote(image_id)}").status_code == 404
        picture = client.get(f"/api/pictures/{quote(image_id)}")
        assert (picture.status_code, picture.json()["error"].endswith("imported, without a picture")) == (404, True)
    upload = client.post("/api/search", files={"image": ("a.png", b"x")})
    assert (upload.status_code, "were imported" in upload.json()["error"]) == (501, True)


def test_times_of_any_year_are_told(gallery: Gallery, tmp_path: Path) -> None:
    """Parquet has years that Python has not; an image with one is told like any other."""
    for number in range(3):
        draw(tmp_path / f"pictures/{number}.png", number)
    times = {
        "when": pa.array([0, 2**62, None], pa.timestamp("us", tz="UTC")),
        "day": pa.array([0, 2**30, None], pa.date32()),
    }
    pq.write_table(pa.table({"path": ["0.png", "1.png", "2.png"], **times}), tmp_path / "times.parquet")
    fpve.run(make_job(tmp_path / "store", tmp_path / "pictures", metadata=tmp_path / "times.parquet", prefix=None))
    client = gallery(tmp_path / "store")
    told = [client.get(f"/api/images/pets/{number}.png").json()["metadata"] for number in range(3)]
    assert told == [
        {"day": "1970-01-01", "when": "1970-01-01T00:00:00Z"},
        {"day": "2941775-04-07", "when": "148108-07-06T14:00:27.387904"},
        {"day": None, "when": None},
    ]
    assert len(client.get("/api/search", params={"id": "pets/0.png"}).json()["hits"]) == 2
