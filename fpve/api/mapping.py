"""The part of a store's API that places its images in a plane."""

from __future__ import annotations

from fpve.curation.map import Map, map_images
from fpve.curation.projection import DEFAULT_METHOD, DEFAULT_SEED, Method
from fpve.opened import Opened
from fpve.progress import Progress


class Mapping:
    """A store that can be seen as a map."""

    _open: Opened

    def map(
        self,
        *,
        method: Method = DEFAULT_METHOD,
        image_weight: float | None = None,
        where: str | None = None,
        color: str | None = None,
        seed: int = DEFAULT_SEED,
        progress: Progress | None = None,
    ) -> Map:
        """Place the images in a plane, by the vectors that a search compares: what is alike is near.

        `pca` shows as much of the variance as two straight axes can, in seconds. `umap` keeps the neighbours of each
        image together, and parts groups; how far apart these are then means little. It takes a minute or two for
        100,000 images, and needs the extra `map`. The same store and options give the same map.

        Args:
            method: `pca` or `umap`.
            image_weight: the weight A of the picture in [0, 1], as a search has it; by default the store's, and 1 where
                no image has a prefix.
            where: an SQL condition over the columns of `images`; the others are not placed, nor do they count.
            color: a column of `images` to have beside the places.
            seed: of what UMAP draws at random.
            progress: is told of each image that is looked at.

        Raises:
            QueryError: an option is wrong, or a library is missing.
        """
        return map_images(
            self._open.searcher,
            method=method,
            image_weight=image_weight,
            where=where,
            color=color,
            seed=seed,
            progress=progress,
        )
