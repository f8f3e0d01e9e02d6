"""Heads: classifiers that were learnt from a store's vectors, as files that a manifest names."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from fpve.replica import shown
from fpve.store.files import NAME_DIGITS, FileRef, checked, ref, write_named_by_content

if TYPE_CHECKING:
    from fpve.store.manifest import Manifest

SUFFIX = ".safetensors"
_FOLDER = "heads"


@dataclass(frozen=True, slots=True)
class HeadRef:
    """A head that a snapshot has; there is one of each kind for a label column.

    Attributes:
        label: the column that it predicts.
        kind: `logistic` or `mlp`.
        file: its weights.
        classes: how many it tells apart.
        rows: how many images it learnt from.
        snapshot: number of the snapshot that it learnt from.
        space: what makes its queries, as `space_of` names it: of others it knows nothing.
        image_weight: the weight A at which they are made.
        seed: with which it learnt.
        metrics: how well it did on held-out images.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    label: str
    kind: str
    file: FileRef
    classes: int
    rows: int
    snapshot: int
    space: str
    image_weight: float
    seed: int
    metrics: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """The head as messages name it."""
        return f"{self.kind} head for {self.label!r}"

    def command(self, root: Path) -> str:
        """What makes it anew."""
        return train_command(root, self.label, self.kind)


def train_command(root: Path, label: str, kind: str) -> str:
    """The command that trains a head of a store."""
    return shlex.join(["fpve", "train", shown(root), "--label", label, "--head", kind])


def write_head(root: Path, data: bytes) -> FileRef:
    """Write the file of a head, named by its content."""
    path, digest = write_named_by_content(root, (_FOLDER,), SUFFIX, lambda out: out.write_bytes(data))
    return ref(root, path, digest)


def read_head(root: Path, head: HeadRef) -> bytes:
    """The content of a head's file.

    Raises:
        StoreCorrupt: it is missing or damaged.
    """
    return checked(root, head.file).read_bytes()


def space_of(manifest: Manifest) -> str:
    """What tells the queries of a snapshot from those of others: by encoders, mode and means."""
    centred = manifest.fusion.centred
    parts = [f"{block}:{encoder.fingerprint}" for block, encoder in sorted(manifest.encoders.items())]
    parts += [f"mode:{manifest.fusion.mode}", f"centre:{centred.version if centred is not None else ''}"]
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:NAME_DIGITS]


def with_fitting_heads(manifest: Manifest) -> Manifest:
    """A manifest that is to be published, without the heads whose queries were made in another way."""
    space = space_of(manifest)
    return replace(manifest, heads=tuple(one for one in manifest.heads if one.space == space))


def dropped_heads(last: Manifest | None, manifest: Manifest) -> list[HeadRef]:
    """The heads of a snapshot that the one after it has no more, nor another one in their place."""
    kept = {(one.label, one.kind) for one in manifest.heads}
    return [one for one in last.heads if (one.label, one.kind) not in kept] if last is not None else []


def sorted_heads(heads: Iterable[HeadRef]) -> tuple[HeadRef, ...]:
    """Heads in the order in which a manifest names them; of two for the same the later one."""
    found = {(one.label, one.kind): one for one in heads}
    return tuple(found[key] for key in sorted(found))
