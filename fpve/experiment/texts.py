"""The prefixes that are compared: what rules give the pictures, embedded by text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fpve.config import EncoderConfig, Job, as_rules
from fpve.encoders import open_text_encoder
from fpve.errors import QueryError
from fpve.evaluate import Labelled
from fpve.experiment.pictures import Pictures, read_pictures
from fpve.fusion import Floats
from fpve.groups import grouped
from fpve.neighbours import Mask
from fpve.prefixes import prefix_ids
from fpve.progress import SilentProgress


@dataclass(frozen=True, slots=True)
class Texts:
    """Prefixes of n pictures.

    Attributes:
        prefix: the rule, as it is written; `the job's` for each collection's own.
        encoder: name of the text encoder; None where no picture has a prefix.
        embeddings: (n, prefix_dim) raw; a zero row is a missing one.
        images: the pictures as an evaluation takes them: those with the same prefix are of one group.
    """

    prefix: str
    encoder: str | None
    embeddings: Floats
    images: Labelled


@dataclass(frozen=True, slots=True)
class Given:
    """The texts of all pictures by one rule, with the rules of each collection."""

    prefix: str
    pictures: Pictures


OWN_PREFIX = "the job's"


def read_texts(job: Job, pictures: Pictures, prefixes: Sequence[str], *, label: str, sample: int | None) -> list[Given]:
    """The texts that rules give the pictures of a job.

    Args:
        job: whose pictures they are.
        pictures: as `read_pictures` has read them, with the job's own prefixes.
        prefixes: templates, each of which takes the place of every collection's rules; none stands for these.
        label: as `read_pictures` was given it.
        sample: likewise.

    Raises:
        FpveError: as `read_pictures`.
    """
    if not prefixes:
        return [Given(OWN_PREFIX, pictures)]
    found = []
    for one in dict.fromkeys(prefixes):
        if one == OWN_PREFIX:
            found.append(Given(one, pictures))
            continue
        rules = as_rules(one)
        other = replace(job, collections=tuple(replace(each, prefix=rules) for each in job.collections))
        read = read_pictures(other, label=label, sample=sample, progress=SilentProgress())
        if not read.table["image_id"].equals(pictures.table["image_id"]):
            raise QueryError("the pictures changed while they were compared; run it again")
        found.append(Given(one, read))
    return found


def embed(given: Sequence[Given], configs: Sequence[EncoderConfig]) -> dict[tuple[int, str], Floats]:
    """Embeddings (n, prefix_dim) of all texts by each encoder, by the number of the rule and the encoder's name.

    Each text is encoded once by each. A picture without one has a zero row; where none has one, there is no embedding.
    """
    found: dict[tuple[int, str], Floats] = {}
    for config in configs:
        if config.is_none:
            continue
        encoder = None
        for number, one in enumerate(given):
            encoded = one.pictures.table["prefix"].combine_chunks().dictionary_encode()
            texts = encoded.dictionary.to_pylist()
            if not texts:
                continue
            encoder = encoder or open_text_encoder(config)
            rows = encoder.encode(texts)
            # One more, for pictures without a prefix.
            rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)])
            found[number, encoder.name] = rows[encoded.indices.fill_null(len(texts)).to_numpy()]
    return found


def labelled(given: Given, good: Mask, content_hash: Sequence[str | None], label: str) -> Labelled:
    """The pictures that took part as an evaluation takes them, tied by content and by the prefixes of a rule.

    Raises:
        QueryError: there are not two of different classes.
    """
    chosen = np.flatnonzero(good)
    pictures = given.pictures
    table = pictures.table.take(pa.array(chosen))
    content = pa.array(content_hash, pa.string()).take(pa.array(chosen))
    of_prefix = prefix_ids(table["prefix"].combine_chunks())
    columns = {"collection": table["collection"], "content_hash": content, "prefix_id": of_prefix}
    codes = pictures.labels.codes[chosen]
    groups, warnings = grouped(pa.table(columns), pictures.rules, label, codes, np.arange(len(chosen)))
    return Labelled(label, pictures.labels.names, codes, of_prefix.is_valid().to_numpy(False), groups, warnings)
