"""A collection that changes at random, and a plain-dict model of what a store of it must hold.

The model knows nothing of stores: it keeps pictures and metadata in dictionaries and computes every vector anew.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from samples import FAKE, KINDS, draw
from torture.contents import LABELS, Row, State, Vector, without_null

from fpve import images
from fpve.config import CollectionConfig, FusionConfig, Job, Limits
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.fusion import Fusion
from fpve.prefixes import prefix_id

# So that some 40 pictures make several shards and pages, and have means.
SHARD_ROWS = 6
PAGE_ROWS = 9
MIN_BLOCKS = 12
FUSION = Fusion(24, 16)
CAPTIONS = ("{caption}", "a {kind}", "{kind}, {caption}")
BROKEN = "not a picture of any known format"
# Long ago, so that a file's time proves that it did not change, and runs take it from the scan state.
_OLD = 1_600_000_000_000_000_000


def use_small_files() -> None:
    """Make shards and pages of this process so small that little collections have several, and means of few blocks."""
    # Not through monkeypatch: child processes call this too.
    import fpve.engines.shards
    import fpve.store.means
    import fpve.store.pages

    fpve.engines.shards.SHARD_ROWS = SHARD_ROWS
    fpve.store.pages.PAGE_ROWS = PAGE_ROWS
    fpve.store.means.MIN_BLOCKS = MIN_BLOCKS


@dataclass(frozen=True)
class Picture:
    """A file of the source: what it holds, and whether that can be decoded."""

    content_hash: str
    size: int
    good: bool


@dataclass
class World:
    """Two collections in folders, one with metadata and prefixes, and what a store of them must hold.

    Attributes:
        root: where everything lies.
        pictures: by collection and path.
        metadata: of collection `pets`, by path; rows of pictures that are gone may stay.
        labels: by image_id and column.
        template: the prefix rule of `pets`.
    """

    root: Path
    rng: random.Random
    template: str = CAPTIONS[0]
    pictures: dict[tuple[str, str], Picture] = field(default_factory=dict)
    metadata: dict[str, Row] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    _seed: int = 0

    @classmethod
    def make(cls, root: Path, rng: random.Random, *, pets: int = 20, plain: int = 8) -> World:
        """A world with so many pictures in either collection."""
        world = cls(root, rng)
        for _ in range(pets):
            world.add("pets")
        for _ in range(plain):
            world.add("plain")
        world.write_metadata()
        return world

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.root / "store"

    def job(self, store: Path | None = None) -> Job:
        """The job of both collections, into the world's store or into another."""
        pets, plain = self.root / "pets", self.root / "plain"
        return Job(
            name="world",
            store=store or self.store,
            encoders=FAKE,
            fusion=FusionConfig(),
            collections=(
                CollectionConfig(name="pets", source=pets, metadata=self.root / "pets.csv", prefix=self.template),
                CollectionConfig(name="plain", source=plain),
            ),
            limits=Limits(max_quarantine=0.5),
        )

    # Changes of the source

    def mutate(self) -> list[str]:
        """Change a few things at random; says what."""
        moves = [
            (self.add, 4),
            (self.change, 2),
            (self.rename, 2),
            (self.copy, 2),
            (self.swap, 1),
            (self.delete, 4),
            (self.relabel, 3),
            (self.recaption, 3),
            (self.break_one, 1),
            (self.change_template, 0.3),
        ]
        chosen = self.rng.choices([one for one, _ in moves], [weight for _, weight in moves], k=self.rng.randint(1, 5))
        for move in chosen:
            move()
        self.write_metadata()
        return [move.__name__ for move in chosen]

    def add(self, collection: str | None = None) -> None:
        """A new picture, mostly with metadata."""
        key = self._new(collection)
        self._draw(key)
        if key[0] == "pets" and self.rng.random() < 0.9:
            self.metadata[key[1]] = self._row()

    def change(self) -> None:
        """Other content under an old name."""
        self._draw(self._any())

    def rename(self) -> None:
        """The same content under a new name, within its collection."""
        old = self._any()
        new = self._new(old[0])
        self._path(new).parent.mkdir(parents=True, exist_ok=True)
        self._path(old).rename(self._path(new))
        self.pictures[new] = self.pictures.pop(old)
        if old[1] in self.metadata:
            self.metadata[new[1]] = self.metadata.pop(old[1])

    def copy(self) -> None:
        """The same content once more, in either collection."""
        old, new = self._any(), self._new()
        self._path(new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self._path(old), self._path(new))
        self.pictures[new] = self.pictures[old]
        if new[0] == "pets" and self.rng.random() < 0.5:
            self.metadata[new[1]] = self._row()

    def swap(self) -> None:
        """Two pictures change their names, size and time with them."""
        one, other = self._any(), self._any()
        if one != other:
            aside = self.root / "aside"
            self._path(one).rename(aside)
            self._path(other).rename(self._path(one))
            aside.rename(self._path(other))
            self.pictures[one], self.pictures[other] = self.pictures[other], self.pictures[one]

    def delete(self) -> None:
        """A picture less; the source is never left with few."""
        key = self._any()
        rest = [one for one in self.pictures if one[0] == key[0] and self.pictures[one].good and one != key]
        if len(rest) >= (12 if key[0] == "pets" else 5):
            self._path(key).unlink()
            del self.pictures[key]
            if self.rng.random() < 0.7:
                self.metadata.pop(key[1], None)

    def relabel(self) -> None:
        """Other labels and prices for some."""
        for path in self._some_paths():
            self.metadata[path] = self._row() | {"caption": self.metadata.get(path, {}).get("caption")}

    def recaption(self) -> None:
        """Other captions for some, so other prefixes."""
        for path in self._some_paths():
            self.metadata[path] = self.metadata.get(path, self._row()) | {"caption": self._row()["caption"]}

    def break_one(self) -> None:
        """A file that is no picture, in place of another or new."""
        broken = [key for key, one in self.pictures.items() if not one.good]
        if len(broken) >= 3:
            self._draw(broken[0])
            return
        self._write(self._new(), f"no picture {self._next()}".encode(), good=False)

    def change_template(self) -> None:
        """Another rule for prefixes."""
        self.template = self.rng.choice([one for one in CAPTIONS if one != self.template])

    def write_metadata(self) -> None:
        """Write the metadata of `pets` as CSV."""
        lines = ["path,caption,kind,price"]
        for path, row in sorted(self.metadata.items()):
            lines.append(f"{path},{row['caption'] or ''},{row['kind']},{row['price']}")
        (self.root / "pets.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_labels(self, image_ids: list[str]) -> Path:
        """A file of labels for some of these images."""
        lines = ["image_id,quality,kind,price"]
        for image_id in self.rng.sample(image_ids, min(4, len(image_ids))):
            values = (self.rng.choice("ab"), self.rng.choice(("", "wolf")), self.rng.choice(("", "7.5")))
            lines.append(f"{image_id},{','.join(values)}")
        file = self.root / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    # The model

    def expected(self) -> State:
        """What a store must hold after a run."""
        state = State(labels=dict(self.labels))
        for (collection, path), picture in self.pictures.items():
            image_id = f"{collection}/{path}"
            if not picture.good:
                found = {"path": path, "content_hash": picture.content_hash, "reason": BROKEN}
                state.quarantine[image_id] = found
                continue
            known = self.metadata.get(path, {}) if collection == "pets" else {}
            metadata = {name: known.get(name) for name in ("caption", "kind", "price")}
            prefix = self._prefix(metadata) if collection == "pets" else None
            labels = {name: LABELS[name](value) for (one, name), value in self.labels.items() if one == image_id}
            row = {
                "image_id": image_id,
                "collection": collection,
                "path": path,
                "content_hash": picture.content_hash,
                "bytes": picture.size,
                "width": 40,
                "height": 30,
                "prefix_id": None if prefix is None else prefix_id(prefix),
                "prefix": prefix,
                **metadata,
                **labels,
            }
            state.images[image_id] = without_null(row)
            state.vectors[image_id] = vector_of(picture.content_hash, prefix)
            state.thumbnails[picture.content_hash] = _CONTENT[picture.content_hash].thumbnail
            if prefix is not None:
                state.prefixes[prefix_id(prefix)] = prefix
        return state

    def good_hashes(self) -> set[str]:
        """Content of the pictures that can be encoded."""
        return {one.content_hash for one in self.pictures.values() if one.good}

    def _prefix(self, metadata: Row) -> str | None:
        if "{caption}" in self.template and metadata["caption"] is None:
            return None
        return None if metadata["kind"] is None else self.template.format(**metadata)

    # Helpers

    def _row(self) -> Row:
        caption = f"{self.rng.choice(('small', 'old', 'loud', 'grey'))} one {self.rng.randint(1, 9)}"
        # 1.25 and not 1.20, which a column of numbers would not give back.
        return {
            "caption": caption if self.rng.random() < 0.7 else None,
            "kind": self.rng.choice(KINDS),
            "price": self.rng.randint(0, 999) + 0.25,
        }

    def _next(self) -> int:
        self._seed += 1
        return self._seed

    def _any(self) -> tuple[str, str]:
        return self.rng.choice(sorted(self.pictures))

    def _some_paths(self) -> list[str]:
        paths = sorted(path for collection, path in self.pictures if collection == "pets")
        return self.rng.sample(paths, self.rng.randint(1, 5))

    def _new(self, collection: str | None = None) -> tuple[str, str]:
        collection = collection or self.rng.choice(("pets", "pets", "plain"))
        return collection, f"{self.rng.choice('abc')}/{self._next():05d}.png"

    def _path(self, key: tuple[str, str]) -> Path:
        return self.root / key[0] / key[1]

    def _draw(self, key: tuple[str, str]) -> None:
        seed = self._next()
        draw(self._path(key), seed)
        self._write(key, self._path(key).read_bytes(), good=True)

    def _write(self, key: tuple[str, str], data: bytes, *, good: bool) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # Each content has a time of its own, as it would on a disk.
        time = _OLD + self._next() * 1_000_000_000
        os.utime(path, ns=(time, time))
        picture = Picture(hashlib.sha256(data).hexdigest(), len(data), good)
        self.pictures[key] = picture
        if good:
            _CONTENT.setdefault(picture.content_hash, _Content.of(data))


@dataclass(frozen=True)
class _Content:
    """What there is to know of a picture's content."""

    feature: Vector
    thumbnail: bytes

    @classmethod
    def of(cls, data: bytes) -> _Content:
        picture = images.decode(data).image
        feature = _IMAGE.encode(_IMAGE.prepare(picture)[None])
        return cls(feature, images.thumbnail(picture))


_IMAGE, _TEXT = open_image_encoder(FAKE.image), open_text_encoder(FAKE.text)
_CONTENT: dict[str, _Content] = {}
_EMBEDDINGS: dict[str, Vector] = {}


def vector_of(content_hash: str, prefix: str | None) -> Vector:
    """The fused vector of a picture that some world has drawn, computed anew."""
    if prefix is not None and prefix not in _EMBEDDINGS:
        _EMBEDDINGS[prefix] = _TEXT.encode([prefix])
    embedding = None if prefix is None else _EMBEDDINGS[prefix]
    return FUSION.fuse(_CONTENT[content_hash].feature, embedding).vectors[0]


def copy_of(world: World, store: Path) -> Path:
    """A copy of the world's store, to try something on; nothing in it shares an inode with the original."""
    shutil.rmtree(store, ignore_errors=True)
    if world.store.exists():
        shutil.copytree(world.store, store)
    return store
