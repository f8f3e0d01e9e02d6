"""Manifests: what is written is what is read, and no damage goes unseen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import fpve
from fpve.errors import StoreCorrupt, StoreLocked, StoreNotFound, StoreVersion
from fpve.store import manifest as manifests
from fpve.store import publishing
from fpve.store.encoding import CentreRef, EncoderRef, FusionRef
from fpve.store.files import FileRef, inside
from fpve.store.manifest import Collection, Manifest, Page, Segment, Table
from fpve.store.schema import Column

FILE = FileRef("images/c/0123.parquet", 7, "ab" * 32)
MANIFEST = Manifest(
    snapshot=1,
    parent=None,
    created_at="2026-01-02T03:04:05+00:00",
    written_by="fpve test",
    encoders={"image": EncoderRef({"name": "fake", "resize": "pad"}, "00ff" * 4, 24)},
    fusion=FusionRef("balanced", 0.5, centre=True, centred=CentreRef("ab" * 8, 120, 100, 1)),
    columns=(Column("größe", "float64"),),
    collections=(
        Collection(
            "c", "/src", "job", ({"text": "{größe}"},), (Column("größe", "float64"),), (Page(FILE, 2, "c/a", "c/b"),)
        ),
    ),
    segments=(Segment("0123", FILE, 2, ("exact.faiss",)),),
    tables=(Table("prefixes", FILE, 1),),
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """The file that MANIFEST names."""
    path = tmp_path / FILE.path
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(FILE.bytes))


def test_a_published_manifest_is_read_back(tmp_path: Path) -> None:
    """What was published is what is loaded, newest first, or by number."""
    publishing.publish(tmp_path, MANIFEST)
    publishing.publish(tmp_path, replace(MANIFEST, snapshot=2, parent=1))
    assert manifests.numbers(tmp_path) == [1, 2]
    assert manifests.load(tmp_path, 1) == MANIFEST
    assert manifests.load(tmp_path).snapshot == 2
    assert [path.name for path in sorted((tmp_path / "snapshots").iterdir())] == [f"{one:020d}.json" for one in (1, 2)]


def test_a_number_is_published_once(tmp_path: Path) -> None:
    """A second manifest of the same number is refused and the first is left as it was."""
    publishing.publish(tmp_path, MANIFEST)
    with pytest.raises(StoreLocked, match="snapshot 1 was published by another writer"):
        publishing.publish(tmp_path, replace(MANIFEST, written_by="other"))
    assert manifests.load(tmp_path) == MANIFEST


def test_every_flipped_bit_is_found() -> None:
    """Any single bit of a manifest that is flipped makes it invalid, white space and escapes included."""
    data = manifests.dumps(MANIFEST)
    assert manifests.loads(data, 1) == MANIFEST
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ValueError, TypeError)):
            manifests.loads(bytes(damaged), 1)


def test_a_damaged_newest_manifest_is_an_error_that_names_the_way_back(tmp_path: Path) -> None:
    """It is never skipped in silence; older snapshots still open."""
    publishing.publish(tmp_path, MANIFEST)
    (tmp_path / "snapshots" / f"{2:020d}.json").write_text("{}")
    with pytest.raises(StoreCorrupt, match=r"damaged manifest .*`fpve rollback .*` goes back to snapshot 1"):
        manifests.load(tmp_path)
    assert manifests.load(tmp_path, 1) == MANIFEST


def test_a_damaged_only_manifest_names_no_older_one(tmp_path: Path) -> None:
    """Where there is nothing to go back to, the error does not say so."""
    publishing.publish(tmp_path, MANIFEST)
    next((tmp_path / "snapshots").iterdir()).write_text("{}")
    with pytest.raises(StoreCorrupt, match=r"\(expected the format 'fpve-manifest'\); see `fpve repair"):
        manifests.load(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """No store and no such snapshot are different errors."""
    with pytest.raises(StoreNotFound, match="no store here"):
        manifests.load(tmp_path)
    publishing.publish(tmp_path, MANIFEST)
    with pytest.raises(StoreNotFound, match="no snapshot 5; it has 1"):
        manifests.load(tmp_path, 5)


def test_a_manifest_names_no_file_that_is_not_there(tmp_path: Path) -> None:
    """A store whose files were deleted under its writer, or cut off, is not published."""
    (tmp_path / FILE.path).write_bytes(bytes(FILE.bytes - 1))
    with pytest.raises(StoreCorrupt, match=r"0123.parquet: a file of the store vanished .* nothing was published"):
        publishing.publish(tmp_path, MANIFEST)
    assert manifests.numbers(tmp_path) == []


def test_a_manifest_under_another_number_is_damaged(tmp_path: Path) -> None:
    """A copy of snapshot 1 that is called 2 is no snapshot 2."""
    publishing.publish(tmp_path, MANIFEST)
    folder = tmp_path / "snapshots"
    (folder / f"{2:020d}.json").write_bytes((folder / f"{1:020d}.json").read_bytes())
    with pytest.raises(StoreCorrupt, match="it is that of snapshot 1"):
        manifests.load(tmp_path)


def test_a_manifest_is_json_with_a_checksum_at_its_end() -> None:
    """It is what JSON makes of its content, and the checksum is that of the same without it."""
    data = manifests.dumps(MANIFEST)
    content = json.loads(data)
    assert data == (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
    checksum = content.pop("checksum")
    rest = (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
    assert checksum == f"sha256:{hashlib.sha256(rest).hexdigest()}"


@pytest.mark.parametrize("change", [{"format_version": 2}, {"shape": "round"}])
def test_another_version_is_no_damage(tmp_path: Path, change: dict[str, object]) -> None:
    """A manifest whose checksum is right, and which says what is not known here, is nobody's to repair."""
    content = json.loads(manifests.dumps(MANIFEST))
    content.pop("checksum")
    content |= change
    folder = tmp_path / "snapshots"
    folder.mkdir()
    data = manifests._sealed(manifests._json(content))
    (folder / f"{1:020d}.json").write_bytes(data)
    for call in (manifests.load, fpve.verify, fpve.repair, fpve.history, partial(fpve.prune, keep=1), fpve.rollback):
        with pytest.raises(StoreVersion, match=r"written by 'fpve test', this is fpve .*: use that version"):
            call(tmp_path)
    assert (folder / f"{1:020d}.json").read_bytes() == data


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    """A manifest's file names stay inside the store."""
    with pytest.raises(StoreCorrupt, match="outside the store"):
        inside(tmp_path, name)
