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
        new: images whose name is new, and that were not moved.
        moved: images whose name is new, and whose content is that of an image that is gone. Each of those accounts for
            one; a copy whose original is still there is new. Before files are read, size and time stand for content.
        changed: images with another content than before; in a dry run, those whose size or time differs.
        prefix_changed: images with the same content and another prefix.
        metadata_changed: images of which nothing but metadata is another than before.
        unchanged: the other images. An input that is in quarantine and was no image is in none of these categories.
        encoded: pictures that went through the vision model; in a dry run, so many would, unless their content turns
            out to be known.
        fused: vectors made from stored features, because only the prefix is new.
        predicted: predictions of labels that were made, by rules of this job or another; those that still hold are not
            made again. A dry run can't say.
        removed: images that are in the store and no longer in their source, and were not moved; and those whose file is
            there and can't be encoded any more.
        quarantined: inputs that could not be encoded.
        without_prefix: images without a prefix, though their collection has a rule for it: what the rule takes it from
            is empty. Those that wait for a language model are not among them.
        without_metadata: images that the collection's metadata file does not name.
        unmatched_metadata: rows of metadata files that name no image.
        undecodable: files beside the pictures whose formats can't be decoded, by their extensions: not scanned.
        labels_without_image: labels of images that are not there: gone, or there under another name. They wait for it.
        corrections_without_image: prefixes that people gave to images that are not there, likewise.
        bytes_to_read: size of the files that were read, or would be.
        bytes_to_write: in a dry run, the estimated size of vectors, their indexes and thumbnails.
        bytes_written: size of the files that the run's snapshot names and the one before did not, by kind: `images`
            (pages), `vectors`, `indexes`, `tables` (prefixes, quarantine, thumbnails) and `snapshots`; and `state`, the
            cache of scanned files, which is rewritten whole when one of them changed, be it that nothing is published.
        estimated_minutes: in a dry run, how long encoding would take.
        estimate_basis: which rate that is taken from: the store's newest run that encoded enough, or an assumption.
        runs_on: in a dry run, where it would be encoded: on which cluster, by how many workers; None for this process.
        downloads: in a dry run, the encoders whose weights are not on this machine; a run would fetch them, and encode
            everything.
        language_model_requests: prompts that a language model was asked, each once; retries don't count. In a dry run,
            so many would be, unless pictures that must be read turn out to be known.
        prompt_tokens, completion_tokens: what the answers took, as far as the models say it.
        generation_failed: of the requests, those without a usable answer; the next run asks again.
        generation_error: why the first of these failed, in one line; None if none did.
        without_answer: images whose prompt has no answer yet, as requests failed, or `max_requests` allowed no more.
        cut_prefixes: texts that were embedded and are so long that the text model does not see their end.
        warnings: what somebody should know who relies on the prefixes.
        seconds: wall time of the stages `plan`, `wait` (for another writer), `generate`, `encode`, `fuse`, `commit`,
            `compact`, and `total`.
        busy: thread seconds of the stages within `encode`, which overlap: `read`, `decode`, `encode` and `write`.
        limited_by: which of them the others waited for; None if nothing was encoded.
        images_per_second: encoded over the encoding stage's wall time; None if nothing was encoded.
        snapshot: the newest snapshot after the run; None if there is none.
        published: whether this run made it.
        compacted: whether small files had become many, and were merged into a snapshot after that of the run.
        compact_error: why that failed, after the run had published, in one line; None if it did not.
        metrics_error: why the metrics could not be written, in one line; None if they could, or if the run failed.
        dry_run: whether nothing was written.
        error: why a run failed; None if it did not.
    """

    job: str
    started_at: str
    scanned: int = 0
    new: int = 0
    moved: int = 0
    changed: int = 0
    prefix_changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    encoded: int = 0
    fused: int = 0
    predicted: int = 0
    removed: int = 0
    quarantined: int = 0
    without_prefix: int = 0
    without_metadata: int = 0
    unmatched_metadata: int = 0
    undecodable: int = 0
    labels_without_image: int = 0
    corrections_without_image: int = 0
    bytes_to_read: int = 0
    bytes_to_write: int | None = None
    bytes_written: dict[str, int] = field(default_factory=dict)
    estimated_minutes: float | None = None
    estimate_basis: str | None = None
    runs_on: str | None = None
    downloads: tuple[str, ...] = ()
    language_model_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    generation_failed: int = 0
    generation_error: str | None = None
    without_answer: int = 0
    cut_prefixes: int = 0
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    limited_by: str | None = None
    images_per_second: float | None = None
    snapshot: int | None = None
    published: bool = False
    compacted: bool = False
    compact_error: str | None = None
    metrics_error: str | None = None
    dry_run: bool = False
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)
