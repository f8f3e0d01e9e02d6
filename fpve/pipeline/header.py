"""What a run's manifest says besides its files: who made its vectors, and how they are compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from fpve.config import AUTO, DECIDING, EncoderConfig, FusionConfig, Job, PredictRule
from fpve.encoders import Encoder
from fpve.engines.work import Models, Target
from fpve.fusion import DEFAULT_IMAGE_WEIGHT, Fusion
from fpve.planning.models import recipe_for, recipe_of
from fpve.planning.plan import other_collections
from fpve.store.encoding import EncoderRef, FusionRef, WeightRef
from fpve.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Header:
    """What a manifest says besides its files.

    Attributes:
        job: name of the job that owns the collections.
        encoders, fusion: what made the vectors.
        keeps_segments: whether the last snapshot's vectors were made in the same way.
        target_recall: what share of the true hits ANN indexes are built to find.
        predict: which labels the job wants predicted.
    """

    job: str
    encoders: dict[str, EncoderRef]
    fusion: FusionRef
    keeps_segments: bool
    target_recall: float
    predict: tuple[PredictRule, ...]


def header_for(job: Job, models: Models, base: Snapshot | None) -> tuple[Header, Target]:
    """What the manifest will say of encoders and fusion, and what the engine needs of that.

    Args:
        job: what the store should contain.
        models: its encoders; asked for their length only where the last snapshot does not say it.
        base: the last snapshot.
    """
    recipe = recipe_for(job, models)
    keeps_segments = base is not None and recipe_of(base) == recipe
    known = {one.fingerprint: one for one in base.manifest.encoders.values()} if base is not None else {}
    encoders = {"image": _encoder_ref(job.encoders.image, models.image, known)}
    if models.text is not None:
        encoders["text"] = _encoder_ref(job.encoders.text, models.text, known)
    before = base.manifest.fusion if base is not None and keeps_segments else None
    fusion = _fusion_ref(job.fusion, before)
    target_recall = job.index.target_recall
    if base is not None and before is not None and other_collections(job, base):
        # Two jobs that say it differently would publish in turns for ever: the store's word stands.
        encoders, fusion = base.manifest.encoders, replace(before, centred=None)
        target_recall = base.manifest.target_recall
    dims = (encoders["image"].dim, encoders["text"].dim if "text" in encoders else 0)
    header = Header(job.name, encoders, fusion, keeps_segments, target_recall, job.predict)
    return header, Target(job.store, recipe, Fusion(*dims, job.fusion.mode))


def _encoder_ref(config: EncoderConfig, encoder: Encoder, known: dict[str, EncoderRef]) -> EncoderRef:
    """What a manifest says of an encoder; dimension and space are the last one's where they can, to load no model."""
    settings = {name: str(value) for name, value in asdict(config).items() if value is not None and name in DECIDING}
    fingerprint = encoder.fingerprint
    last = known.get(fingerprint)
    # Asked for again where there was none: naming one may be new, and saying that there is none costs nothing.
    space = (last and last.space) or encoder.space
    return EncoderRef(settings, fingerprint, last.dim if last else encoder.dim, space)


def _fusion_ref(config: FusionConfig, before: FusionRef | None) -> FusionRef:
    """What a manifest says of fusion, without the means; a weight that was chosen for a label column stands."""
    if config.image_weight != AUTO or config.label is None:
        return FusionRef(config.mode, float(config.image_weight), config.centre)
    if before is not None and before.auto is not None and before.auto.label == config.label:
        return FusionRef(config.mode, before.image_weight, config.centre, auto=before.auto)
    return FusionRef(config.mode, DEFAULT_IMAGE_WEIGHT, config.centre, auto=WeightRef(config.label))
