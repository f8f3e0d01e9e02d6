"""The part of a store's API that curates: copies, oddities, doubtful labels, fair samples, drift."""

from __future__ import annotations

from pathlib import Path

from fpve.classify import DEFAULT_K as DEFAULT_VOTERS
from fpve.curation.drift import drift as drift_of
from fpve.curation.duplicates import PIXELS, THRESHOLD
from fpve.curation.duplicates import duplicates as duplicates_of
from fpve.curation.mislabeled import Doubts
from fpve.curation.mislabeled import mislabeled as mislabeled_of
from fpve.curation.outliers import CUT, DEFAULT_K
from fpve.curation.outliers import outliers as outliers_of
from fpve.curation.sample import sample as sample_of
from fpve.opened import Opened
from fpve.progress import Progress
from fpve.records import Records
from fpve.search import Searcher
from fpve.store.snapshot import Snapshot


class Curating:
    """A store whose collections can be curated. Nothing here changes a file."""

    path: Path
    _open: Opened

    def duplicates(
        self,
        *,
        threshold: float = THRESHOLD,
        pixels: float = PIXELS,
        where: str | None = None,
        prefer: str | None = None,
        progress: Progress | None = None,
    ) -> Records:
        """Find images with the same picture, byte by byte, or nearly the same: what to keep, and what could go.

        Each cluster has one image to keep, the largest or one that is preferred; the picture of each other one has at
        least the cosine `threshold` with that of the kept one, and its pixels agree. Columns: `cluster` (1 is the
        largest), `image_id`, `collection`, `path`, `action` (`keep`, `remove`), `kind` (`exact`, `near`), `cosine`,
        `mirrored`, `pixels`, `width`, `height`, `bytes`, `prefix`.

        Args:
            threshold: the least cosine in (0, 1] of raw features.
            pixels: the least correlation of thumbnails in [-1, 1], as they are or mirrored; -1 takes any.
            where: an SQL condition on the images that are looked at.
            prefer: an SQL condition on images to keep rather than others, however small.
            progress: is told of each picture.

        Raises:
            QueryError: an option is wrong.
        """
        return Records(
            duplicates_of(
                self._open.searcher,
                threshold=threshold,
                pixels=pixels,
                where=where,
                prefer=prefer,
                progress=progress,
            )
        )

    def outliers(
        self,
        *,
        k: int = DEFAULT_K,
        cut: float = CUT,
        image_weight: float = 1.0,
        where: str | None = None,
        everything: bool = False,
        progress: Progress | None = None,
    ) -> Records:
        """Find images that are far from all others: whose mean distance to their k nearest is beyond a robust cut.

        Columns: `rank`, `image_id`, `collection`, `path`, `distance`, `z`, `nearest`, `prefix`.

        Args:
            k: how many neighbours.
            cut: from which robust z-score an image is an outlier.
            image_weight: the weight A of the picture; below 1 the prefixes count as well.
            where: an SQL condition on the images that are looked at, and compared with.
            everything: tell of all images, not only of outliers.
            progress: is told of each picture.

        Raises:
            QueryError: an option is wrong.
        """
        return Records(
            outliers_of(
                self._open.searcher,
                k=k,
                cut=cut,
                image_weight=image_weight,
                where=where,
                everything=everything,
                progress=progress,
            )
        )

    def mislabeled(
        self,
        *,
        label: str,
        k: int = DEFAULT_VOTERS,
        image_weight: float | None = None,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> Doubts:
        """Find images whose label is not what the others say, the surest disagreement first.

        Columns: `rank`, `image_id`, `collection`, `path`, `label`, `prediction`, `confidence` (the probability of the
        prediction), `label_probability`, `neighbours`, `prefix`.

        Args:
            label: the column of classes.
            k: how many neighbours vote.
            image_weight: the weight A of the picture; by default the store's, or 1 where prefixes tell the label.
            where: an SQL condition on the images that are looked at, and vote.
            progress: is told of each image.

        Raises:
            QueryError: there is no such column, fewer than two classes, or an option is wrong.
        """
        return mislabeled_of(
            self._open.searcher, label=label, k=k, image_weight=image_weight, where=where, progress=progress
        )

    def sample(
        self,
        n: int,
        *,
        image_weight: float = 1.0,
        where: str | None = None,
        beside: str | None = None,
        progress: Progress | None = None,
    ) -> Records:
        """Choose n images that are as different as can be: each is the farthest from those before it.

        Columns: `rank`, `image_id`, `collection`, `path`, `distance`, `prefix`. Every beginning is a sample itself.

        Args:
            n: how many; fewer if there are fewer different pictures.
            image_weight: the weight A of the picture; below 1 the prefixes count as well.
            where: an SQL condition on the images that may be chosen.
            beside: an SQL condition on images that are there already, such as those with a label.
            progress: is told of each image that is chosen.

        Raises:
            QueryError: an option is wrong.
        """
        return Records(
            sample_of(
                self._open.searcher, n=n, image_weight=image_weight, where=where, beside=beside, progress=progress
            )
        )

    def drift(self, *, since: int, label: str | None = None, progress: Progress | None = None) -> Records:
        """Compare the images with those of an older snapshot: shares, mean pictures, and new kinds of pictures.

        Columns: `measure` (`images`, `share`, `psi`, `centroid`, `cluster`), `name`, `before`, `after`, `change`,
        `chance`; `fpve.curation.drift` says what each means.

        Args:
            since: number of the older snapshot.
            label: a column whose classes are compared as well.
            progress: is told of each new picture.

        Raises:
            StoreNotFound: there is no snapshot `since` any more.
            QueryError: the snapshots have different encoders, or there is no such column.
        """
        older = Snapshot.open(self.path, since)
        try:
            return Records(drift_of(Searcher(older), self._open.searcher, label=label, progress=progress))
        finally:
            older.close()
