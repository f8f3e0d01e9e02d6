"""Rules by which labels are predicted, as a manifest keeps them, and what predictions were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from fpve.config import PredictRule
from fpve.store.files import NAME_DIGITS

if TYPE_CHECKING:
    from fpve.store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PredictRef:
    """A rule of a job, and what its predictions were made of; the table `predictions` holds them.

    Attributes:
        job: name of the job whose rule it is.
        rule: what the job says.
        way: what else makes a prediction of an image and its neighbours, as a digest: vectors, weight, votes or head;
            empty as long as none was made.
        images: by which images predictions are true, as `images_of` names them.
        rows: how many images have one.
        reason: why none has, in one line; None where there is no reason but that every image has a label.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    job: str
    rule: PredictRule
    way: str = ""
    images: str = ""
    rows: int = 0
    reason: str | None = None


def images_of(manifest: Manifest) -> str:
    """What tells the images of a snapshot, with all that is said of them, from those of others."""
    digest = hashlib.sha256()
    for column in manifest.columns:
        digest.update(f"column:{column.name}:{column.type}\n".encode())
    for one in manifest.collections:
        digest.update(f"collection:{one.name}:{one.folder or one.source}\n".encode())
        for page in one.pages:
            digest.update(f"page:{page.file.sha256}\n".encode())
    return digest.hexdigest()[:NAME_DIGITS]


def recut(before: Manifest, manifest: Manifest) -> Manifest:
    """A manifest of the very images of another one, cut into other pages: predictions that were true still are."""
    old, new = images_of(before), images_of(manifest)
    rules = (replace(one, images=new) if one.images == old else one for one in manifest.predict)
    return replace(manifest, predict=tuple(rules))


def forgotten(manifest: Manifest) -> Manifest:
    """A manifest whose predictions are all to be made again; the files that hold them are to be left out of it."""
    return replace(manifest, predict=tuple(PredictRef(one.job, one.rule) for one in manifest.predict))


def rules_of(
    job: str, rules: Iterable[PredictRule], last: Manifest | None, owners: Iterable[str]
) -> tuple[PredictRef, ...]:
    """The rules of a store after a run of a job: its own as they are now, and those of other jobs.

    Args:
        job: its name.
        rules: what it says.
        last: the last snapshot; a rule that it has keeps its predictions.
        owners: the jobs that collections belong to: of another one, which has none any more, rules are dropped.
    """
    known = last.predict if last is not None else ()
    said = {rule.label: rule for rule in rules}
    kept = {one.rule.label: one for one in known if one.job == job and said.get(one.rule.label) == one.rule}
    others = {one.rule.label: one for one in known if one.job != job and one.job in set(owners)}
    found = others | {label: kept.get(label, PredictRef(job, rule)) for label, rule in said.items()}
    return tuple(found[label] for label in sorted(found))
