"""Learning a head from labelled queries: what is held out stops it, chooses for it and calibrates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fpve.errors import QueryError
from fpve.fusion import Floats, Fusion, unit
from fpve.heads.calibration import fit_temperature, log_loss
from fpve.heads.classifier import Classifier
from fpve.heads.examples import Examples, Mask, Numbers
from fpve.heads.fitting import Fit, logistic, mlp, threads_for
from fpve.heads.network import Layer, Network
from fpve.heads.settings import HeadSettings
from fpve.heads.split import held_out

# With fewer rows held out, what they choose is chance: then nothing is, and the usual settings are taken.
MIN_HELD_OUT = 20
# Of a class that a network has never seen: e^-50 is less than any probability that is told.
_NEVER = -50.0


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What was learnt.

    Attributes:
        classifier: its classes are `classes`, in that order.
        classes: (c,) the class numbers that the rows had, ascending.
        metrics: of a network that has not learnt from the held-out rows, on these: `held_out` (how many),
            `accuracy`, `balanced_accuracy`, `log_loss` and `log_loss_uncalibrated`; then `epochs` or `penalty`, which
            they chose, and `temperature`. Of queries without their prefix the same with `_without`. What could not be
            measured is not there.
    """

    classifier: Classifier
    classes: Numbers
    metrics: dict[str, float]


def train_head(
    queries: Floats,
    codes: Numbers,
    clusters: Numbers,
    *,
    fusion: Fusion,
    settings: HeadSettings | None = None,
    told: Callable[[], object] = lambda: None,
) -> Trained:
    """Learn the classes of n labelled images.

    Args:
        queries: (n, dim) float32, the images as `fusion.query` makes them at the head's weight.
        codes: (n,) class numbers, from 0.
        clusters: (n,) numbers of what belongs together, and is held out together: copies, images with one prefix.
        fusion: of the store, with its centre.
        settings: how; by default logistic regression.
        told: is called after each pass over the rows.

    Raises:
        QueryError: there are no rows, one class only, or classes of one image each; or a value is not finite.
        ValueError: the shapes don't fit.
    """
    settings = settings or HeadSettings()
    _check(queries, codes, clusters, fusion)
    classes, numbers = np.unique(codes, return_inverse=True)
    rows = Examples(queries, numbers.reshape(-1), clusters)
    if (wrong := _unlearnable(rows)) is not None:
        raise QueryError(wrong)
    held = held_out(rows.codes, clusters, settings.validation, np.random.default_rng(settings.seed))
    learner = _Learner(len(classes), settings, told)
    image = queries[:, : fusion.image_dim]
    pictured = np.any(image, axis=1)
    metrics: dict[str, float] = {}
    full = bare = None
    if np.any(queries[:, fusion.image_dim :]):
        with threads_for(rows, len(classes), settings.kind):
            full, metrics = learner.learn(rows, held)
    # In `concat` a query has length 1 with a prefix, and without.
    pictures = rows._replace(inputs=unit(image) if fusion.mode == "concat" else image).where(pictured)
    wrong = _unlearnable(pictures)
    if wrong is None:
        with threads_for(pictures, len(classes), settings.kind):
            bare, found = learner.learn(pictures, held[pictured])
        metrics |= {name if full is None else f"{name}_without": value for name, value in found.items()}
    elif full is None:
        raise QueryError(wrong)
    return Trained(Classifier(fusion.dim, fusion.image_dim, full, bare), classes, metrics)


def _check(queries: Floats, codes: Numbers, clusters: Numbers, fusion: Fusion) -> None:
    if queries.shape != (len(codes), fusion.dim) or clusters.shape != codes.shape:
        raise ValueError(
            f"expected queries ({len(codes)}, {fusion.dim}) and {len(codes)} clusters, found {queries.shape} and "
            f"{clusters.shape}"
        )
    if not len(codes):
        raise QueryError("expected labelled images to learn from, found none")
    # Row by row, for a mask of all numbers would be a fourth of their size.
    wrong = next((row for row, one in enumerate(queries) if not np.isfinite(one).all()), None)
    if wrong is not None:
        raise QueryError(f"expected finite vectors to learn from, found NaN or infinity in row {wrong}")


def _unlearnable(rows: Examples) -> str | None:
    """Why nothing can be learnt from rows; None if something can."""
    classes = len(np.unique(rows.codes))
    if classes < 2:
        return "expected images of at least two classes to learn from, found one class"
    if len(np.unique(np.stack([rows.codes, rows.clusters]), axis=1)[0]) == classes:
        return (
            f"expected classes of several images to learn from, found {classes:,} classes of one image each (copies "
            "and images with one prefix count as one)"
        )
    return None


@dataclass(frozen=True, slots=True)
class _Learner:
    """Learns networks of so many classes, though their rows may be of fewer."""

    classes: int
    settings: HeadSettings
    told: Callable[[], object]

    def learn(self, rows: Examples, held: Mask) -> tuple[Network, dict[str, float]]:
        """Learn from rows, of which some (n,) are held out at first; the network, and how well it did on these."""
        present, codes = np.unique(rows.codes, return_inverse=True)
        rows = rows._replace(codes=codes.reshape(-1))
        # Of pictures alone, all of a class may be held out.
        held = held & np.isin(rows.codes, rows.codes[~held])
        if held.sum() < MIN_HELD_OUT:
            fit = self._fitted(rows, self._usual())
            return Network(_widened(fit.layers, present, self.classes)), fit.chosen
        learnt, other = rows.where(~held), rows.where(held)
        fit = self._chosen(learnt, other)
        logits = Network(fit.layers).logits(other.inputs)
        weights = self._weights(other.codes, learnt.codes)
        temperature = fit_temperature(logits, other.codes, weights)
        metrics = {**_measured(logits, other.codes, temperature), **fit.chosen, "temperature": temperature}
        if self.settings.refit:
            fit = self._fitted(rows, fit.chosen)
        return Network(_widened(fit.layers, present, self.classes), temperature), metrics

    def _chosen(self, learnt: Examples, other: Examples) -> Fit:
        """Learn from some rows what is best on others: with each penalty, or after each pass, while that gets better.

        Raises:
            QueryError: nothing came of it.
        """
        one = self.settings
        weights, beside = self._weights(learnt.codes, learnt.codes), self._weights(other.codes, learnt.codes)
        classes = int(learnt.codes.max()) + 1
        if one.kind == "logistic":
            fits, patience = logistic(learnt, weights, classes, one.penalties, one.device), 1
        else:
            fits, patience = mlp(learnt, weights, classes, one, one.max_epochs), one.patience
        best, least, since = None, np.inf, 0
        for fit in fits:
            self.told()
            loss = log_loss(Network(fit.layers).logits(other.inputs), other.codes, beside)
            best, least, since = (fit, loss, 0) if loss < least else (best, least, since + 1)
            if since >= patience:
                break
        if best is None:
            raise QueryError(f"learning did not come to a finite loss; is the learning rate {one.learning_rate} right?")
        return best

    def _fitted(self, rows: Examples, chosen: dict[str, float]) -> Fit:
        """Learn from all rows, as was chosen."""
        one, weights, classes = self.settings, self._weights(rows.codes, rows.codes), int(rows.codes.max()) + 1
        if one.kind == "logistic":
            fits = logistic(rows, weights, classes, (chosen["penalty"],), one.device)
        else:
            fits = mlp(rows, weights, classes, one, int(chosen["epochs"]))
        for fit in fits:
            self.told()
            last = fit
        return last

    def _usual(self) -> dict[str, float]:
        """What is taken where there is nothing to choose by."""
        one = self.settings
        return {"penalty": one.usual_penalty} if one.kind == "logistic" else {"epochs": float(one.usual_epochs)}

    def _weights(self, codes: Numbers, learnt: Numbers) -> Floats:
        """How much rows (n,) count, by how many of their class are learnt from; of these the mean is 1."""
        if self.settings.class_weight is None:
            return np.ones(len(codes), np.float32)
        counts = np.bincount(learnt)
        found: Floats = (len(learnt) / (len(counts) * counts)).astype(np.float32)[codes]
        return found


def _measured(logits: Floats, codes: Numbers, temperature: float) -> dict[str, float]:
    """How well logits (n, c) tell the classes (n,)."""
    right = logits.argmax(axis=1) == codes
    each = np.bincount(codes, right), np.bincount(codes)
    alike = np.ones(len(codes), np.float32)
    return {
        "held_out": float(len(codes)),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float((each[0][each[1] > 0] / each[1][each[1] > 0]).mean()),
        "log_loss": log_loss(logits, codes, alike, temperature),
        "log_loss_uncalibrated": log_loss(logits, codes, alike),
    }


def _widened(layers: tuple[Layer, ...], present: Numbers, classes: int) -> tuple[Layer, ...]:
    """Layers whose outputs are those of all classes: one that is not among the present ones is never predicted."""
    if len(present) == classes:
        return layers
    *rest, last = layers
    weight, bias = np.zeros((classes, last.weight.shape[1]), np.float32), np.full(classes, _NEVER, np.float32)
    weight[present], bias[present] = last
    return (*rest, Layer(weight, bias))
