"""The encoders that a comparison names, as a job would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from fpve.config import EncoderConfig, Encoders, Job, resolve_paths
from fpve.errors import JobError


def named_encoders(
    job: Job, block: Literal["image", "text"], named: Sequence[str | EncoderConfig], folder: Path
) -> list[EncoderConfig]:
    """The encoders of a block, each once; the job's own name stands for the job's configuration of it.

    Args:
        job: whose encoder it is where none is named.
        block: which of its encoders.
        named: names, as a job has them, or configurations.
        folder: what relative paths begin at.

    Raises:
        JobError: none is named, and the job encodes no pictures.
    """
    own: EncoderConfig = getattr(job.encoders, block)
    if block == "image" and not named and own.is_none:
        raise JobError("encoders.image: expected an image encoder to compare, found 'none'; name one")
    found = []
    for one in named or (own,):
        if isinstance(one, EncoderConfig):
            found.append(one)
            continue
        config = own if one == own.name else EncoderConfig(one, device=own.device)
        resolved = resolve_paths(replace(job, encoders=Encoders(**{block: config})), folder)
        found.append(getattr(resolved.encoders, block))
    return list(dict.fromkeys(found))
