"""What the neighbours of an image say of its label."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from fpve.classify import DEFAULT_K
from fpve.classify.labels import as_text
from fpve.progress import Progress
from fpve.rowfiles import plain
from fpve.web.jobs import RUNNING, Running
from fpve.web.routing import StoreRouter
from fpve.web.rows import ImageRow, image_rows
from fpve.web.served import PinnedStore, ServedStore

router = StoreRouter(tags=["predictions"])

# More classes than these have hardly a probability.
_CLASSES = 10
_MOST_NEIGHBOURS = 1_000


class Probability(BaseModel):
    """A class, and how probable it is."""

    label: str
    probability: float


class Voter(ImageRow):
    """A neighbour that voted."""

    label: str | list[str] = Field(description="Its own label; of a column of lists several.")
    score: float


class Prediction(BaseModel):
    """What the neighbours of an image say of its label, and what it is."""

    snapshot: int
    image_id: str
    label: str = Field(description="The column.")
    truth: str | list[str] | None = Field(description="The image's own class, or classes; null where it has none.")
    prediction: str | list[str] | None
    confidence: float | None = Field(description="Probability that the prediction is right.")
    novelty: float | None = Field(description="Share of the labelled images that are nearer to their neighbours.")
    probabilities: list[Probability] = Field(description=f"The most probable first, {_CLASSES} at most.")
    neighbours: list[Voter] = Field(description="Those that voted, nearest first.")


@router.get(
    "/api/predictions/{image_id:any}",
    summary="What the neighbours of an image say of its label",
    response_model=Prediction,
    responses=RUNNING,
)
def prediction(
    image_id: str,
    served: ServedStore,
    store: PinnedStore,
    label: Annotated[str, Query(description="The column of classes.")],
    k: Annotated[int, Query(ge=1, le=_MOST_NEIGHBOURS, description="How many neighbours vote.")] = DEFAULT_K,
    image_weight: Annotated[
        float | None, Query(ge=0, le=1, description="Weight A of the picture; by default what fits.")
    ] = None,
) -> Prediction | JSONResponse:
    """Classify an image by the others; it has no vote for itself."""
    searcher = store.opened.searcher
    row = searcher.row_of(image_id)

    def calibrate(progress: Progress) -> bool:
        # The votes of a label are calibrated once, and then remembered by the store.
        with progress.stage("calibrate", None):
            store.classify(ids=[image_id], label=label, k=k, image_weight=image_weight)
        return True

    done = served.jobs.ask(store.snapshot, ("predictions", label, k, image_weight), calibrate)
    if isinstance(done, Running):
        return done.response(store.snapshot)
    found = store.classify(ids=[image_id], label=label, k=k, image_weight=image_weight)[0]
    voters = found.neighbours or []
    images = image_rows(store, [searcher.row_of(one["image_id"]) for one in voters])
    return Prediction(
        snapshot=store.snapshot,
        image_id=image_id,
        label=label,
        truth=_truth(searcher.snapshot.rows.take([row], [label])[label].combine_chunks()),
        prediction=found.prediction,
        confidence=plain(found.confidence),
        novelty=plain(found.novelty),
        probabilities=[Probability(**one) for one in found.probabilities[:_CLASSES]],
        neighbours=[
            Voter.model_construct(**dict(image), label=one["label"], score=one["score"])
            for image, one in zip(images, voters, strict=True)
        ],
    )


def _truth(cell: pa.Array) -> str | list[str] | None:
    """The class that the value (1,) of a label column is, called as predictions call it."""
    if not pa.types.is_list(cell.type):
        return as_text(cell)[0].as_py()  # type: ignore[no-any-return]
    return as_text(cell.flatten()).drop_null().to_pylist() if cell.is_valid()[0].as_py() else None
