"""What a run did, or would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did; for a dry run, what it would do.

    Attributes:
        job: name of the job.
        started_at: UTC, ISO 8601.
        scanned: pictures found in the sources.
        new, changed, unchanged: of them, those whose path is new, those whose content, prefix or metadata is another
            than before, and the rest. A dry run counts a file whose size or time differs as changed.
        encoded: pictures that went through the vision model; in a dry run, at most so many would.
        fused: vectors made from stored features, because only the prefix is new.
        removed: images that are in the store and no longer in their source.
        quarantined: inputs that could not be encoded.
        without_prefix: images whose prefix is missing, though their collection has a rule for it.
        without_metadata: images that the collection's metadata file does not name.
        unmatched_metadata: rows of metadata files that name no image.
        bytes_to_read: size of the files that were read, or would be.
        seconds: wall time of the stages `plan`, `encode`, `fuse`, `commit`, and `total`.
        images_per_second: encoded over the encoding stage's wall time; None if nothing was encoded.
        snapshot: the newest snapshot after the run; None if there is none.
        published: whether this run made it.
        dry_run: whether nothing was written.
        error: why a run failed; None if it did not.
    """

    job: str
    started_at: str
    scanned: int = 0
    unchanged: int = 0
    new: int = 0
    changed: int = 0
    encoded: int = 0
    fused: int = 0
    removed: int = 0
    quarantined: int = 0
    without_prefix: int = 0
    without_metadata: int = 0
    unmatched_metadata: int = 0
    bytes_to_read: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None
    snapshot: int | None = None
    published: bool = False
    dry_run: bool = False
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)
