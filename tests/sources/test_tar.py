"""Tar archives as a source: members and sidecars, odd and damaged archives, and what changes mean."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import make_job

import fpve
from fpve.config import CollectionConfig, Job, Limits
from fpve.errors import GuardError, JobError, SourceError, SourceNotFound
from fpve.sources import archives
from fpve.sources.scan import Scan
from fpve.sources.source import scan_source
from fpve.store.snapshot import Snapshot

Tree = Callable[[Path], dict[str, bytes]]
_LONG_AGO = 1_600_000_000


def png(seed: int) -> bytes:
    """A picture that no other seed gives; all are of one size."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "bmp")
    return out.getvalue()


def pack(
    file: Path,
    members: dict[str, bytes | str | tarfile.TarInfo],
    *,
    at: int = _LONG_AGO,
    kind: int = tarfile.GNU_FORMAT,
) -> Path:
    """An archive of these members, with the time `at`."""
    with tarfile.open(file, "w", format=kind, errors="surrogateescape") as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name.split("#")[0])
            content = data.encode() if isinstance(data, str) else data
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    os.utime(file, (at, at))
    return file


def samples(numbers: range, *, seed: int = 0) -> dict[str, bytes | str | tarfile.TarInfo]:
    """Samples as img2dataset packs them."""
    members: dict[str, bytes | str | tarfile.TarInfo] = {}
    for number in numbers:
        fields = {"caption": f"json {number}", "width": 8, "price": number / 2, "exif": {"a": 1}, "tags": ["x"]}
        members[f"{number:06d}.bmp"] = png(seed + number)
        members[f"{number:06d}.json"] = json.dumps(fields)
        members[f"{number:06d}.txt"] = f"text {number}\n"
        members[f"{number:06d}.cls"] = str(number % 3)
    return members


def scan(source: Path, **options: Any) -> Scan:
    """What a scan finds."""
    return scan_source(CollectionConfig("c", source, **options))


def ids(source: Path, **options: Any) -> list[str]:
    """image_ids that a scan finds."""
    return [str(one) for one in scan(source, **options).files["image_id"].to_pylist()]


def skipped(source: Path) -> dict[str, str]:
    """What a scan skips, with the reason."""
    return {one.path: one.reason for one in scan(source).skipped}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of three archives with five samples each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        pack(folder / f"{number}.tar", samples(range(number * 5, number * 5 + 5)))
    return folder


@pytest.fixture
def job(tmp_path: Path, shards: Path) -> Job:
    """A job over the archives."""
    return make_job(tmp_path / "store", shards, metadata=None, prefix="{txt}")


def rows(job: Job) -> dict[str, dict[str, Any]]:
    """Image rows by id."""
    return {row["image_id"]: row for row in fpve.open(job.store).images.to_pylist()}


def test_members_and_their_sidecars_are_images(job: Job, shards: Path) -> None:
    """An id is archive and member; texts, classes and plain fields are columns, unless a store has them itself."""
    report = fpve.run(job)
    assert (report.encoded, report.quarantined, report.without_prefix) == (15, 0, 0)
    row = rows(job)["pets/1.tar/000007.bmp"]
    assert row["path"] == str(shards / "1.tar/000007.bmp")
    assert (row["caption"], row["txt"], row["cls"], row["price"]) == ("json 7", "text 7", 1, 3.5)
    assert (row["prefix"], row["width"], row["bytes"]) == ("text 7", 8, len(png(7)))
    assert not {"exif", "tags"} & set(row)


def test_a_night_without_changes_lists_no_archive(job: Job, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an archive holds is remembered as long as its size and time are what they were; nothing is read."""
    fpve.run(job)
    before = tree(job.store)

    def index(*_: object) -> None:
        raise AssertionError("an archive was listed")

    monkeypatch.setattr(archives, "index_archive", index)
    report = fpve.run(job)
    assert (report.unchanged, report.bytes_to_read, report.published) == (15, 0, False)
    after = tree(job.store)
    assert {name: data for name, data in after.items() if name in before and before[name] != data} == {}
    assert len([name for name in after if name.startswith("state/archives/pets/")]) == 3
    monkeypatch.undo()
    for name in after:
        if name.startswith("state/archives"):
            (job.store / name).write_bytes(b"damaged")
    assert fpve.run(job).unchanged == 15


def test_an_archive_that_was_just_written_is_listed_again(job: Job, shards: Path) -> None:
    """Its time proves nothing yet: within the same tick of the clock it may be written once more."""
    pack(shards / "1.tar", samples(range(5, 10)), at=2_000_000_000)
    fpve.run(job)
    assert len(list((job.store / "state/archives/pets").iterdir())) == 2
    assert fpve.run(job).bytes_to_read > 0


def test_a_replaced_archive_is_read_and_only_new_pictures_are_encoded(job: Job, shards: Path) -> None:
    """One member is another, one is new, one is gone, one sidecar says something else; other archives are not read."""
    fpve.run(job)
    members = samples(range(5, 11))
    members["000006.bmp"] = png(100)
    members["000008.txt"] = "another"
    members["000010.bmp"] = png(200)
    for name in [name for name in members if name.startswith("000009")]:
        del members[name]
    pack(shards / "1.tar", members, at=_LONG_AGO + 1)
    report = fpve.run(job)
    assert (report.new, report.changed, report.prefix_changed, report.removed) == (1, 1, 1, 1)
    assert (report.unchanged, report.encoded, report.fused) == (12, 2, 1)
    assert report.bytes_to_read == 5 * len(png(0))
    assert fpve.run(job).published is False


def test_an_archive_of_the_same_time_is_another_by_its_size(job: Job, shards: Path) -> None:
    """Archives that are packed with a fixed time are told apart by their size, their members by where they lie."""
    fpve.run(job)
    pack(shards / "1.tar", samples(range(5, 10), seed=100) | {"more.txt": "x" * 20_000})
    assert fpve.run(job).changed == 5


def test_archives_that_are_gone_need_permission(job: Job, shards: Path, tree: Tree) -> None:
    """One of three archives is a third of the images; none at all is an unmounted disk."""
    fpve.run(job)
    before = tree(job.store / "snapshots")
    kept = (shards / "1.tar").rename(shards.parent / "kept")
    with pytest.raises(GuardError, match="5 of 15 images are gone"):
        fpve.run(job)
    kept.rename(shards / "1.tar")
    shards.rename(shards.with_name("unmounted"))
    shards.mkdir()
    with pytest.raises(SourceError, match="the folder is empty; is its disk mounted"):
        fpve.run(job, allow_removals=True)
    assert tree(job.store / "snapshots") == before


def test_members_that_move_to_another_archive_are_not_encoded_again(job: Job, shards: Path) -> None:
    """Packed anew into one archive, all images have another name and the content that they had."""
    fpve.run(job)
    for file in shards.iterdir():
        file.unlink()
    pack(shards / "all.tar", samples(range(15)))
    report = fpve.run(job)
    assert (report.moved, report.removed, report.encoded, report.new) == (15, 0, 0, 0)
    assert len(list((job.store / "state/archives/pets").iterdir())) == 1


def test_a_damaged_archive_loses_no_image(job: Job, shards: Path) -> None:
    """Cut off while it is being copied, say: what is whole is used, the rest is in quarantine and as it was."""
    fpve.run(job)
    whole = (shards / "1.tar").read_bytes()
    (shards / "1.tar").write_bytes(whole[: len(whole) // 2])
    generous = make_job(job.store, shards, metadata=None, prefix="{txt}")
    with pytest.raises(GuardError, match=r"more than max_quarantine"):
        fpve.run(generous)
    generous = replace(generous, limits=Limits(max_quarantine=10))
    report = fpve.run(generous)
    assert (report.removed, report.unchanged, len(rows(job))) == (0, 15, 15)
    reasons = {row["path"]: row["reason"] for row in Snapshot.open(job.store).table("quarantine").to_pylist()}
    assert reasons["1.tar"].startswith("it is cut off at byte")
    assert reasons["1.tar/000009.bmp"] == (
        "can't be read: its archive is damaged, and held it when it was whole; kept as it was"
    )
    (shards / "1.tar").write_bytes(whole)
    report = fpve.run(generous)
    assert (report.unchanged, report.quarantined) == (15, 0)


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024])
def test_what_is_whole_of_a_cut_archive_is_used(tmp_path: Path, cut: int) -> None:
    """Wherever it ends, members before that are found, and the archive is told to be cut off or damaged."""
    whole = pack(tmp_path / "whole.tar", {f"{number}.bmp": png(number) for number in range(20)})
    file = tmp_path / "cut.tar"
    file.write_bytes(whole.read_bytes()[:-10240][: 512 * 20 + cut])
    found = scan(file)
    assert found.files["inside"].to_pylist() == sorted(f"{number}.bmp" for number in range(len(found.files)))
    assert 0 < len(found.files) < 20
    (reason,) = [one.reason for one in found.skipped if one.path == "cut.tar"]
    assert reason.startswith(("it is cut off at byte", "it is damaged at byte"))


def test_a_damaged_header_ends_an_archive(tmp_path: Path) -> None:
    """What comes behind it is not guessed at."""
    file = pack(tmp_path / "x.tar", {f"{number}.bmp": png(number) for number in range(4)})
    data = bytearray(file.read_bytes())
    second = 512 + -(-len(png(0)) // 512) * 512
    data[second : second + 100] = b"\xff" * 100
    file.write_bytes(data)
    assert ids(file) == ["c/x.tar/0.bmp"]
    assert skipped(file) == {"x.tar": f"it is damaged at byte {second:,}: no header there"}


@pytest.mark.parametrize("size", [-512, -1024, -1])
def test_a_size_below_nothing_ends_an_archive(tmp_path: Path, size: int) -> None:
    """It leads back to headers that were read already; what is before it is found."""
    file = pack(tmp_path / "x.tar", {"0.bmp": png(0), "1.bmp": png(1)})
    second = 512 + -(-len(png(0)) // 512) * 512
    data = bytearray(file.read_bytes())
    # As tar writes what octal digits don't hold: two's complement.
    data[second + 124 : second + 136] = b"\xff" + size.to_bytes(11, "big", signed=True)
    data[second + 148 : second + 156] = b" " * 8
    data[second + 148 : second + 156] = b"%06o\0 " % sum(data[second : second + 512])
    file.write_bytes(data)
    assert ids(file) == ["c/x.tar/0.bmp"]
    assert skipped(file) == {"x.tar": f"it is damaged at byte {second:,}: a member of {size:,} bytes"}


def test_a_header_that_holds_nonsense_ends_an_archive(tmp_path: Path) -> None:
    """A list of the parts of a sparse file that is no list of numbers is damage, and not an error of Python's."""
    file = tmp_path / "x.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, fields in (("0.bmp", {}), ("1.bmp", {"GNU.sparse.map": "a,b", "GNU.sparse.size": "10"})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(png(0)), fields
            tar.addfile(info, io.BytesIO(png(0)))
    assert ids(file) == ["c/x.tar/0.bmp"]
    (reason,) = skipped(file).values()
    assert reason.endswith("its header holds nonsense")


@pytest.mark.parametrize("name", ["BZhang/1.bmp", "\x1f\x8b.bmp"])
def test_a_first_name_like_a_compressed_file_is_a_name(tmp_path: Path, name: str) -> None:
    """An archive begins with the name of its first member, whatever that is."""
    assert len(ids(pack(tmp_path / "x.tar", {name: png(0)}))) == 1


def test_odd_members(tmp_path: Path) -> None:
    """Links, names that lead outside and other kinds are told; absolute, untidy and hidden ones are as tar has them."""
    link, hard, device = tarfile.TarInfo("link.bmp"), tarfile.TarInfo("hard.bmp"), tarfile.TarInfo("device.bmp")
    link.type, link.linkname = tarfile.SYMTYPE, "a.bmp"
    hard.type, hard.linkname = tarfile.LNKTYPE, "a.bmp"
    device.type = tarfile.CHRTYPE
    file = pack(
        tmp_path / "x.tar",
        {
            "./a.bmp": png(0),
            "/abs//b.bmp": png(1),
            "../out.bmp": png(2),
            "._a.bmp": b"x",
            "notes.md": b"x",
            "link": link,
            "hard": hard,
            "device": device,
        },
    )
    assert ids(file) == ["c/x.tar/a.bmp", "c/x.tar/abs/b.bmp"]
    assert skipped(file) == {
        "x.tar/../out.bmp": "its name leads out of its archive",
        "x.tar/link.bmp": "a link in an archive; pack the file itself",
        "x.tar/hard.bmp": "a link in an archive; pack the file itself",
        "x.tar/device.bmp": "not a regular file",
    }


def test_of_members_of_one_name_the_last_is_taken(tmp_path: Path) -> None:
    """As by tar when it unpacks what was appended."""
    file = pack(tmp_path / "x.tar", {"a.bmp": png(0), "a.bmp#2": png(1)})
    found = scan(file)
    assert found.inputs(found.files["number"].to_numpy()).read(0).data == png(1)
    assert skipped(file)["x.tar/a.bmp"].startswith("stands in its archive again further on")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_kind(tmp_path: Path, kind: int) -> None:
    """Long names, names that are not ASCII, and bytes that are no text are found in every format of tar."""
    names = ["d" * 80 + "/" + "n" * 90 + ".bmp", "u\u0308.bmp", b"caf\xe9.bmp".decode("utf-8", "surrogateescape")]
    file = pack(tmp_path / "x.tar", {name: png(number) for number, name in enumerate(names)}, kind=kind)
    found = scan(file)
    assert found.files["image_id"].to_pylist() == sorted(
        [f"c/x.tar/{names[0]}", "c/x.tar/\u00fc.bmp", "c/x.tar/caf%E9.bmp"]
    )
    inputs = found.inputs(found.files["number"].to_numpy())
    assert {inputs.read(number).data for number in range(3)} == {png(number) for number in range(3)}


def test_sidecars_that_say_nothing(tmp_path: Path) -> None:
    """Broken and odd JSON is told; fields of several kinds become text; several pictures may share them."""
    file = pack(
        tmp_path / "x.tar",
        {
            "a.bmp": png(0),
            "a.seg.bmp": png(1),
            "a.json": '{"n": 1, "f": 1, "\\ud800": "\\udc00"}',
            "b.v2.bmp": png(2),
            "b.v2.json": '{"n": "x", "f": 1.5}',
            "c.bmp": png(3),
            "c.json": "{",
            "d.bmp": png(4),
            "d.json": "[1]",
            "d.cls": "word",
        },
    )
    found = scan(file)
    columns = found.metadata.columns.select(["n", "f", "cls"]).to_pylist()
    assert columns == [
        {"n": "1", "f": 1.0, "cls": None},
        {"n": "1", "f": 1.0, "cls": None},
        {"n": "x", "f": 1.5, "cls": None},
        {"n": None, "f": None, "cls": None},
        {"n": None, "f": None, "cls": "word"},
    ]
    assert set(skipped(file)) == {"x.tar/c.json", "x.tar/d.json"}


def test_folders_in_archives_are_labels(tmp_path: Path) -> None:
    """`label_from = "folder"` takes the folder in the archive, and none of the archive's own."""
    file = pack(tmp_path / "x.tar", {"cat/a.bmp": png(0), "dog/b.bmp": png(1), "c.bmp": png(2)})
    job = make_job(tmp_path / "store", file, metadata=None, prefix="{stem}", label_from="folder")
    fpve.run(job)
    found = rows(job)
    assert {one: (row["label"], row["prefix"]) for one, row in found.items()} == {
        "pets/x.tar/cat/a.bmp": ("cat", "a"),
        "pets/x.tar/dog/b.bmp": ("dog", "b"),
        "pets/x.tar/c.bmp": (None, "c"),
    }
    assert found["pets/x.tar/c.bmp"]["path"] == f"{file}/c.bmp"


def test_a_metadata_file_takes_the_place_of_sidecars(tmp_path: Path, shards: Path) -> None:
    """Its paths are those of members, with or without the archive."""
    for number, path in enumerate(("1.tar/000007.bmp", "000007.bmp")):
        file = tmp_path / f"m{number}.csv"
        file.write_text(f"path,note\n{path},hello\n")
        job = make_job(tmp_path / f"store{number}", shards, metadata=file, prefix="{note}")
        fpve.run(job)
        row = rows(job)["pets/1.tar/000007.bmp"]
        assert (row["note"], row["prefix"], "txt" in row) == ("hello", "hello", False)


def test_globs_and_patterns_choose_archives_and_members(shards: Path) -> None:
    """A glob as a source names archives; include and exclude are over archive and member."""
    assert ids(shards / "[01].tar") == ids(shards, exclude=("2.tar/*",)) == ids(shards)[:10]
    assert ids(shards.parent / "*/*.tar") == [f"c/shards/{one[2:]}" for one in ids(shards)]
    assert ids(shards, include=("1.tar/*7.bmp",)) == ["c/1.tar/000007.bmp"]
    assert ids(shards / "1.tar") == ids(shards)[5:10]
    # An archive that nobody wants is not even opened.
    (shards / "3.tar").write_bytes(b"\x1f\x8b no tar")
    assert len(ids(shards, exclude=("3.tar/*",))) == 15


def test_pictures_come_before_archives(shards: Path) -> None:
    """A folder with pictures is a folder of pictures, whatever archives lie there too."""
    (shards / "a.bmp").write_bytes(png(0))
    assert ids(shards) == ["c/a.bmp"]
    assert len(ids(shards / "*.tar")) == 15


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("x.tar", b"\x1f\x8b\x08rest", SourceError, r"expected an uncompressed \.tar, .* gunzip"),
        ("x.tar.gz", b"any", SourceError, r"expected an uncompressed \.tar"),
        ("x.tgz", b"any", SourceError, r"expected an uncompressed \.tar"),
        ("x.tar.zst", b"any", SourceError, r"expected an uncompressed \.tar"),
        ("x.tar", b"no archive", SourceError, "no picture in 1 archives; x.tar: it is damaged at byte 0"),
        ("x.tar", b"", SourceError, "no picture in 1 archives; x.tar: it is damaged"),
        ("x.tar", bytes(10240), SourceError, "no picture in 1 archives$"),
        ("x.zip", b"PK", SourceError, "expected a folder of pictures, a .tar archive or a table"),
        ("*.zip", b"", SourceNotFound, "no file is called so; is its disk mounted"),
        ("gone.tar", None, SourceNotFound, "no such archive; is its disk mounted"),
    ],
)
def test_what_is_no_archive_is_told(
    tmp_path: Path, name: str, data: bytes | None, error: type[Exception], message: str
) -> None:
    """One line says what was expected, what was found and what to do; the same in a folder of archives."""
    if data and "*" not in name:
        (tmp_path / name).write_bytes(data)
    elif data is not None and "*" not in name:
        (tmp_path / name).touch()
    with pytest.raises(error, match=message):
        scan(tmp_path / name)
    if "uncompressed" in message:
        with pytest.raises(error, match=message):
            scan(tmp_path)


def test_an_archive_that_changes_while_it_is_read_gives_nothing(shards: Path) -> None:
    """Bytes of another archive are never taken for those of a member that was listed."""
    found = scan(shards)
    pack(shards / "0.tar", samples(range(5), seed=50), at=_LONG_AGO + 1)
    inputs = found.inputs(found.files["number"].to_numpy())
    with pytest.raises(OSError, match="its file changed after it had been scanned"):
        inputs.read(0)
    assert inputs.read(5).data == png(5)


def test_a_member_that_is_too_large_is_not_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a picture's bytes is that of files of their own."""
    found = scan(shards)
    monkeypatch.setattr("fpve.sources.inputs.MAX_FILE_BYTES", 100)
    with pytest.raises(OSError, match="more than is read of a picture") as caught:
        found.inputs(found.files["number"].to_numpy()).read(0)
    assert caught.value.errno == errno.EFBIG


def test_ids_from_sidecars(tmp_path: Path, shards: Path) -> None:
    """A column of theirs can name the images, so that packing them anew changes no id."""
    job = make_job(tmp_path / "store", shards, metadata=None, prefix="{txt}", id="{txt}")
    fpve.run(job)
    for file in shards.iterdir():
        file.unlink()
    pack(shards / "all.tar", samples(range(15)))
    report = fpve.run(job)
    assert (report.metadata_changed, report.moved, report.removed, report.encoded) == (15, 0, 0, 0)
    assert rows(job)["pets/text 7"]["path"] == str(shards / "all.tar/000007.bmp")
    with pytest.raises(JobError, match="no metadata column 'row'"):
        fpve.run(make_job(job.store, shards, metadata=None, prefix="{txt}", id="{row}"))
