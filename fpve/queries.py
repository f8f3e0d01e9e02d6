"""Queries: pictures, texts, images of the store and vectors, as the blocks that a search compares."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL.Image import Image

from fpve import encoders, images
from fpve.encoders import Encoder, ImageEncoder, TextEncoder, open_image_encoder
from fpve.engines.pictures import EncodedPictures, encode_pictures
from fpve.errors import EncoderMismatch, ImageError, QueryError
from fpve.fusion import Blocks, Floats
from fpve.neighbours import Rows
from fpve.remembered import Remembered
from fpve.search import Searcher
from fpve.sources.stored import read_picture
from fpve.store.encoding import EncoderRef
from fpve.store.imported import is_imported
from fpve.store.manifest import Manifest
from fpve.store.snapshot import Snapshot
from fpve.urls import any_path

Picture = str | os.PathLike[str] | bytes | Image
# Texts whose embeddings are remembered: whoever tries weights or conditions asks with the same one. 3 kB each at most.
_REMEMBERED = 256


class QueryEncoders:
    """A store's own encoders, each opened once, when a query needs it."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._lock = Lock()
        self._image: ImageEncoder | None = None
        self._text: TextEncoder | None = None
        self._embedded: Remembered[str, Floats] = Remembered(_REMEMBERED)

    def encode_images(self, pictures: Sequence[Picture]) -> Floats:
        """Raw features (n, image_dim) of pictures.

        Raises:
            ImageError: one can't be decoded, or the model makes nothing of it.
        """
        features, failed = self.encode_each(len(pictures), pictures.__getitem__)
        if failed:
            number = min(failed)
            place = f"picture {number + 1} of {len(pictures)}: " if len(pictures) > 1 else ""
            raise ImageError(f"{place}{failed[number]}")
        return features

    def encode_each(
        self, count: int, read: Callable[[int], Picture], *, advance: Callable[[int], object] = lambda _: None
    ) -> EncodedPictures:
        """Raw features of as many of n pictures as can be encoded.

        Args:
            count: their number n.
            read: gives the picture of a number, or raises an ImageError; called from several threads.
            advance: is told how many more are done.
        """
        encoder = self._open_image()
        enough = images.enough_for(encoder.side)
        return encode_pictures(encoder, count, lambda number: _decode(read(number), enough), advance=advance)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, prefix_dim) of texts; a single one is remembered, for whoever asks again in another way."""
        if len(texts) != 1:
            return self._open_text().encode(list(texts))
        # Its own, to do with as they like.
        return self._embedded.get(texts[0], lambda: self._open_text().encode(list(texts))).copy()

    def _open_image(self) -> ImageEncoder:
        with self._lock:
            if self._image is None:
                ref = self._manifest.encoders["image"]
                encoder = open_image_encoder(ref.as_config())
                _check_fingerprint(encoder, ref)
                self._image = encoder
            return self._image

    def _open_text(self) -> TextEncoder:
        with self._lock:
            if self._text is None:
                self._text = open_text_encoder(self._manifest.encoders["text"])
            return self._text


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries, all of one kind: pictures, texts, both in pairs, image_ids, or vectors.

    Attributes:
        images: pictures.
        texts: texts.
        ids: images of the store.
        vectors: fused vectors (m, dim), or image blocks (m, image_dim).
        features: raw features (m, image_dim) of pictures that are encoded already, in the place of `images`.
    """

    images: Sequence[Picture] | None = None
    texts: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    vectors: Floats | None = None
    features: Floats | None = None

    @classmethod
    def one(cls, *, image: Picture | None, text: str | None, id: str | None, vector: Floats | None) -> Queries:  # noqa: A002
        """A single query."""
        return cls(
            images=None if image is None else [image],
            texts=None if text is None else [text],
            ids=None if id is None else [id],
            vectors=None if vector is None else np.asarray(vector, np.float32)[None],
        )

    @property
    def kinds(self) -> list[str]:
        """Which of them are given."""
        pictures = self.images if self.features is None else self.features
        named = {"ids": self.ids, "vectors": self.vectors, "images": pictures, "texts": self.texts}
        return [name for name, value in named.items() if value is not None]


class Asked(NamedTuple):
    """Queries as a search takes them.

    Attributes:
        blocks: image blocks (m, image_dim) and prefix blocks (m, prefix_dim); a zero row is a missing block.
        exclude: (m,) the image row that each must not find, or None.
        across: whether the image blocks are embeddings of texts, so that their cosines are cross_scores.
    """

    blocks: Blocks
    exclude: Rows | None = None
    across: bool = False

    def blocks_of(self, numbers: Rows) -> Blocks:
        """The blocks of the queries of these numbers, ascending."""
        if len(numbers) == len(self.blocks.image):
            return self.blocks
        return Blocks(self.blocks.image[numbers], self.blocks.prefix[numbers])


def ask(queries: Queries, searcher: Searcher, encoders: QueryEncoders) -> Asked:
    """Encode queries.

    Where pictures and texts share a space, a text without a picture is compared with both: it is the query's image
    block as well as its prefix block.

    Raises:
        QueryError: they name nothing, or too much, or a text is empty or has nothing to be compared with.
        ImageNotFound: no image has one of the ids.
        ImageError: a picture can't be decoded.
    """
    kinds = queries.kinds
    if not kinds or (len(kinds) > 1 and kinds != ["images", "texts"]):
        found = " and ".join(kinds) or "none"
        raise QueryError(f"expected a picture, a text, both, an id or a vector, found {found}")
    for name in kinds:
        if isinstance(value := getattr(queries, name), str | bytes | os.PathLike):
            raise QueryError(f"{name}: expected a list, found {value!r}")
    texts = queries.texts
    if queries.ids is not None:
        rows = _rows_of(queries.ids, searcher)
        return Asked(searcher.blocks_of(rows), rows)
    if queries.vectors is not None:
        return Asked(searcher.split(np.asarray(queries.vectors, np.float32)))
    pictures = queries.images if queries.features is None else queries.features
    if pictures is not None and texts is not None and len(pictures) != len(texts):
        raise QueryError(f"expected as many texts as pictures, found {len(texts)} and {len(pictures)}")
    snapshot = searcher.snapshot
    if pictures is not None and texts is not None and snapshot.shares_space and not snapshot.has_prefixes:
        # A text alone takes the picture's place in the query; beside a picture nothing is left for it.
        raise QueryError(
            f"{snapshot.root}: no image has a prefix that the text of a query with a picture could be compared with; "
            "leave out the picture, to compare the text with the images themselves, or leave out the text"
        )
    # Texts first: a store in which nothing can be compared with them is found out before a model is loaded.
    embedded = None if texts is None else encode_texts(texts, snapshot, encoders)
    prefix = embedded if snapshot.has_prefixes else None
    if queries.features is not None:
        return Asked(searcher.fusion.blocks(queries.features, prefix))
    if queries.images is not None:
        return Asked(searcher.fusion.blocks(encoders.encode_images(queries.images), prefix))
    across = snapshot.shares_space
    return Asked(searcher.fusion.blocks(embedded if across else None, prefix), across=across)


def encode_texts(texts: Sequence[str], snapshot: Snapshot, encoders: QueryEncoders) -> Floats:
    """Embeddings (n, prefix_dim) of texts that are to be compared with the rows of a snapshot.

    Raises:
        QueryError: a text is empty, or there is nothing that it could be compared with.
    """
    if not snapshot.has_prefixes and not snapshot.shares_space and "text" not in snapshot.manifest.encoders:
        imported = next(filter(is_imported, snapshot.manifest.collections), None)
        if imported is not None:
            raise QueryError(
                f"{snapshot.root}: the vectors of {imported.name!r} were imported without texts that a text could be "
                "compared with; search by id or by vector, or import them again with a column prefix and --text-encoder"
            )
    if not snapshot.has_prefixes and not snapshot.shares_space:
        raise QueryError(
            f"{snapshot.root}: no image has a prefix that a text could be compared with; give the collections a prefix "
            'such as "{caption}", use encoders that embed pictures and texts into one space (CLIP, such as image = '
            'text = "st:clip-ViT-B-32"), or search by picture'
        )
    if not all(text.strip() for text in texts):
        raise QueryError("text: expected words, found an empty text")
    return encoders.encode_texts(texts)


def find_rows(ids: Sequence[str | None], searcher: Searcher) -> Rows:
    """Numbers (n,) of the rows of image_ids; -1 where no image is called so."""
    asked = pa.array(ids, pa.string()).dictionary_encode()
    # The other way round, with the images as what is looked up in, all of them would be hashed each time.
    place = pc.index_in(searcher.snapshot.rows.column("image_id"), value_set=asked.dictionary)
    rows = pc.indices_nonzero(place.is_valid()).to_numpy()
    found = np.full(len(asked.dictionary) + 1, -1, np.int64)
    found[place.take(pa.array(rows)).to_numpy()] = rows
    # The last one stands for null.
    numbers: Rows = found[asked.indices.fill_null(len(asked.dictionary)).to_numpy()]
    return numbers


def _rows_of(ids: Sequence[str], searcher: Searcher) -> Rows:
    """Numbers (n,) of the rows of image_ids.

    Raises:
        ImageNotFound: naming the first that no image has.
    """
    if len(ids) == 1:
        return np.array([searcher.row_of(ids[0])], np.int64)
    rows = find_rows(ids, searcher)
    missing = np.flatnonzero(rows < 0)
    return rows if not len(missing) else np.array([searcher.row_of(ids[missing[0]])])


def check_weight(image_weight: float | None, *, given: AbstractSet[str], snapshot: Snapshot) -> None:
    """Refuse a weight that leaves nothing of what a person asked for.

    Raises:
        QueryError: `given` is a picture alone at 0, or a text alone at a weight at which it is compared with nothing.
    """
    if image_weight == 0 and given in ({"image"}, {"images"}):
        raise QueryError("image weight 0 ranks by the text alone, but the query has no text")
    if given not in ({"text"}, {"texts"}):
        return
    if image_weight == 1 and not snapshot.shares_space:
        raise QueryError("image weight 1 ranks by the picture alone, but the query has no picture")
    if image_weight == 0 and snapshot.shares_space and not snapshot.has_prefixes:
        raise QueryError("image weight 0 ranks by prefixes alone, but no image has one")


def open_text_encoder(ref: EncoderRef) -> TextEncoder:
    """Open the text encoder that made a store.

    Raises:
        EncoderMismatch: this machine has other weights of that name.
        EncoderNotFound: there is no such encoder here.
    """
    encoder = encoders.open_text_encoder(ref.as_config())
    _check_fingerprint(encoder, ref)
    return encoder


def _check_fingerprint(encoder: Encoder, ref: EncoderRef) -> None:
    if encoder.fingerprint != ref.fingerprint:
        raise EncoderMismatch(
            f"the store encodes with {ref}, this machine has {encoder.name}@{encoder.fingerprint[:8]}: "
            "install the weights that made the store, or run its job again to encode it with these"
        )


def _decode(picture: Picture, enough: int) -> Image:
    """A query's picture, upright and in RGB, reduced as a stored one would have been."""
    if isinstance(picture, bytes):
        return images.decode(picture, enough=enough).image
    if isinstance(picture, str | os.PathLike):
        path = any_path(picture)
        try:
            return images.decode(read_picture(os.fsencode(path)), enough=enough).image
        except FileNotFoundError:
            raise ImageError(f"{path}: no such file") from None
        except IsADirectoryError:
            raise ImageError(f"{path}: expected a picture, found a folder; --queries takes one") from None
        except OSError as error:
            raise ImageError(f"{path}: can't be read: {error.strerror}") from None
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    return images.from_picture(picture, enough=enough).image
