"""Durability: whatever a manifest names is on the disk before the manifest is, as far as fsync can say so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from samples import draw

import fpve
from fpve.config import Job
from fpve.store import manifest as manifests
from fpve.store import publishing


def test_nothing_is_published_before_it_is_durable(job: Job, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a manifest gets its name, its bytes, the files that it names, and the names on the way there are synced."""
    synced: set[int] = set()
    # Directories with a name in them that is newer than their last fsync.
    unsure: set[int] = set()
    checked: list[str] = []

    def fsync(handle: int) -> None:
        real["fsync"](handle)
        synced.add(os.fstat(handle).st_ino)
        unsure.discard(os.fstat(handle).st_ino)

    def naming(name: str) -> Any:
        def call(*paths: Any, **options: Any) -> None:
            real[name](*paths, **options)
            target = Path(paths[0] if name == "mkdir" else paths[1])
            unsure.add(target.parent.stat().st_ino)

        return call

    def give_name(temporary: Path, target: Path) -> None:
        manifest = manifests.loads(temporary.read_bytes(), int(target.stem))
        assert temporary.stat().st_ino in synced
        copies = [name for one in manifest.collections for page in one.pages for name in page.copy]
        for name in [*(file.path for file in manifest.files), *copies]:
            path = job.store / name
            assert path.stat().st_ino in synced, name
            assert not {(job.store / folder).stat().st_ino for folder in Path(name).parents} & unsure, name
            checked.append(name)
        real_give_name(temporary, target)

    real_give_name = publishing._give_name
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "link", "mkdir")}
    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "rename", "link", "mkdir"):
        monkeypatch.setattr(os, name, naming(name))
    monkeypatch.setattr(publishing, "_give_name", give_name)
    fpve.run(job)
    draw(pictures / "cat/new.png", 100)
    fpve.run(job)
    fpve.compact(job.store)
    fpve.rollback(job.store, 1)
    assert len(checked) >= 15
    # The manifest's own name, at the end.
    assert (job.store / "snapshots").stat().st_ino not in unsure
