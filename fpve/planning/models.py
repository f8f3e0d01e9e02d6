"""The encoders of a job, and the recipe by which it and a snapshot are compared."""

from __future__ import annotations

from fpve.config import Job
from fpve.engines.work import Models
from fpve.errors import JobError
from fpve.store.pending import Recipe
from fpve.store.snapshot import Snapshot


def open_models(job: Job) -> Models:
    """Open a job's encoders; loads no model.

    Raises:
        EncoderNotFound: there is no such encoder, or its weights are not here.
    """
    if job.encoders.image.is_none:
        raise JobError(
            "encoders.image: a store needs an image encoder, found 'none'; 'efficientnet-lite0' works offline"
        )
    return Models.of(job.encoders)


def recipe_for(job: Job, models: Models) -> Recipe:
    """What makes the vectors of a job."""
    return Recipe(models.image.fingerprint, models.text.fingerprint if models.text else None, job.fusion.mode)


def recipe_of(snapshot: Snapshot) -> Recipe:
    """What made the vectors of a snapshot."""
    encoders = snapshot.manifest.encoders
    text = encoders["text"].fingerprint if "text" in encoders else None
    return Recipe(encoders["image"].fingerprint, text, snapshot.manifest.fusion.mode)
