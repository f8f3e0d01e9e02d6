"""The ways to encode pictures that are compared: each image encoder with each pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from fpve import config
from fpve.errors import AlignmentError, QueryError, nearest
from fpve.experiment.features import OWN, Features
from fpve.experiment.guided import guided, tie
from fpve.fusion import Floats
from fpve.neighbours import Mask, Rows
from fpve.progress import Progress

Pooling = Literal["gem", "mean", "text"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
# Features by which copies are told, whatever is compared: so all figures of all calls are of the same votes.
COPIES: config.Pooling = "gem"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Poolings that were asked for.

    Attributes:
        plain: those that need the feature map only.
        text: whether it is pooled by the prefix as well.
        base: which plain one a picture without a prefix has, and the text-guided one is made of.
        strict: whether it is an error if pictures can't be pooled by their prefixes.
    """

    plain: tuple[config.Pooling, ...]
    text: bool
    base: config.Pooling
    strict: bool

    @classmethod
    def of(cls, poolings: Sequence[str]) -> Wanted:
        """Of names; none stands for all.

        Raises:
            QueryError: there is no such pooling.
        """
        for one in poolings:
            if one not in POOLINGS:
                raise QueryError(f"pooling: expected {', '.join(POOLINGS)}, found {one!r}{nearest(one, POOLINGS)}")
        asked = tuple(dict.fromkeys(poolings)) or POOLINGS
        names: dict[str, config.Pooling] = {"gem": "gem", "mean": "mean"}
        plain = tuple(names[one] for one in asked if one in names)
        base: config.Pooling = "mean" if plain == ("mean",) else "gem"
        return cls(plain, "text" in asked, base, strict="text" in poolings)

    @property
    def computed(self) -> tuple[config.Pooling, ...]:
        """The plain ones that are needed: those, and the one by which copies are told."""
        return self.plain if COPIES in self.plain else (*self.plain, COPIES)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to encode pictures.

    Attributes:
        encoder: name of the image encoder.
        pooling: of its feature map.
        image: (n, dim) raw features by which the pictures vote.
        asked: (n, dim) those by which they are predicted; None where these are the same.
        pools: whether the prefix of a picture that is predicted pools its feature map.
        ms_per_image: of the vision model.
    """

    encoder: str
    pooling: str
    image: Floats
    asked: Floats | None
    pools: bool
    ms_per_image: float


@dataclass(frozen=True, slots=True)
class Subject:
    """The pictures that take part in a comparison.

    Attributes:
        good: (all,) which pictures these are, n of them.
        prefix: (n, prefix_dim) raw embeddings of their prefixes; a zero row is a missing one.
        codes: (n,) numbers, each of which ties those that are equal: of the content and of the prefix; -1 ties none.
    """

    good: Mask
    prefix: Floats
    codes: tuple[Rows, ...]


def ways(
    features: Features, subject: Subject, wanted: Wanted, *, notes: list[str], progress: Progress
) -> Iterator[Way]:
    """The ways of one image encoder; what has to be left out is noted.

    Raises:
        AlignmentError: pictures can't be pooled by their prefixes, which was asked for.
    """
    good, milliseconds = subject.good, features.ms_per_image
    if OWN in features.pooled:
        notes.append(f"{features.encoder} has no feature map that could be pooled: it pools in its own way")
        yield Way(features.encoder, OWN, features.pooled[OWN][good], None, False, milliseconds)
        return
    for name in wanted.plain:
        yield Way(features.encoder, name, features.pooled[name][good], None, False, milliseconds)
    if features.maps is None:
        return
    plain = features.pooled[wanted.base][good]
    try:
        pooled = guided(
            features.maps,
            features.places[good],
            plain,
            subject.prefix,
            tie(subject.codes, plain),
            pooling=wanted.base,
            progress=progress,
        )
    except AlignmentError as error:
        if wanted.strict:
            raise
        notes.append(f"{features.encoder} is not pooled by prefixes: {error}")
        return
    yield Way(features.encoder, "text", pooled, None, True, milliseconds)
    yield Way(features.encoder, "text", pooled, plain, False, milliseconds)
