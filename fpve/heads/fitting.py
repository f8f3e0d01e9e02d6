"""Fitting a network's weights: cross-entropy, by L-BFGS or by Adam. The only module that needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fpve.encoders.runtimes.threads import one_thread
from fpve.errors import QueryError
from fpve.fusion import Floats
from fpve.heads.examples import Examples
from fpve.heads.network import Layer
from fpve.heads.settings import HeadKind, HeadSettings

if TYPE_CHECKING:
    import torch

# L-BFGS comes to rest after some tens of steps. To wait for a third of this gradient takes five times as long, and
# moves the loss on held-out rows by a hundredth.
_STEPS = 200
_HISTORY = 10
_GRADIENT = 3e-6
_CHANGE = 1e-9
# Products in one step of L-BFGS from which threads help: about a second of them. Where other programs take their cores,
# they wait for one another longer than they work, by up to ten times; Adam's steps are always short.
_THREADED = 4_000_000_000


@contextmanager
def threads_for(examples: Examples, classes: int, kind: HeadKind) -> Iterator[None]:
    """Let torch compute in one thread what is too little for more."""
    rows, dim = examples.inputs.shape
    with nullcontext() if kind == "logistic" and rows * dim * classes >= _THREADED else one_thread():
        yield


def check_device(name: str) -> None:
    """Refuse a device on which torch can't compute.

    Raises:
        QueryError: naming it, with torch's reason.
    """
    import torch

    try:
        # There and back, for some devices only take.
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise QueryError(f"device {name!r}: torch can't compute there: {reason}") from None


class Fit(NamedTuple):
    """Layers, and how they came about: `penalty` of logistic regression, or `epochs`."""

    layers: tuple[Layer, ...]
    chosen: dict[str, float]


def logistic(
    examples: Examples, weights: Floats, classes: int, penalties: tuple[float, ...], device: str
) -> Iterator[Fit]:
    """Logistic regression by L-BFGS for each strength of L2, each from where the last one came to rest.

    Minimised is the sum of w CE + penalty / 2 ||W||²; the bias is free.

    Args:
        examples: n rows.
        weights: (n,) float32, how much each row counts.
        classes: how many there are.
        penalties: strengths of L2; a weaker one after a stronger one takes fewer steps.
        device: where torch computes.
    """
    import torch

    inputs, codes, rows = _tensors(examples, weights, device)
    count = len(inputs)
    weight = torch.zeros((classes, inputs.shape[1]), device=device, requires_grad=True)
    bias = torch.zeros(classes, device=device, requires_grad=True)
    for penalty in penalties:
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=_STEPS,
            history_size=_HISTORY,
            tolerance_grad=_GRADIENT,
            tolerance_change=_CHANGE,
            line_search_fn="strong_wolfe",
        )

        def loss() -> torch.Tensor:
            solver.zero_grad()  # noqa: B023 (called within this turn only)
            entropy = torch.nn.functional.cross_entropy(
                torch.nn.functional.linear(inputs, weight, bias), codes, reduction="none"
            )
            value = (entropy @ rows + penalty / 2 * weight.square().sum()) / count  # noqa: B023 (likewise)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(loss)  # type: ignore[no-untyped-call]
        yield Fit((_layer(weight, bias),), {"penalty": penalty})


def mlp(examples: Examples, weights: Floats, classes: int, settings: HeadSettings, epochs: int) -> Iterator[Fit]:
    """A network with one hidden layer, by Adam; after each pass over the examples what it has come to.

    Args:
        examples: n rows.
        weights: (n,) float32, how much each row counts; their mean is 1.
        classes: how many there are.
        settings: size, learning rate, batches and seed.
        epochs: how many passes.
    """
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    inputs, codes, rows = _tensors(examples, weights, settings.device)
    first, first_bias = _beginning(inputs.shape[1], settings.hidden, generator, settings.device)
    second, second_bias = _beginning(settings.hidden, classes, generator, settings.device)
    solver = torch.optim.Adam([first, first_bias, second, second_bias], lr=settings.learning_rate)
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator).to(settings.device)
        for mine in torch.split(order, settings.batch_size):
            hidden = torch.nn.functional.linear(inputs[mine] * settings.scale, first, first_bias).relu()
            logits = torch.nn.functional.linear(hidden, second, second_bias)
            entropy = torch.nn.functional.cross_entropy(logits, codes[mine], reduction="none")
            solver.zero_grad()
            (entropy @ rows[mine] / len(mine)).backward()  # type: ignore[no-untyped-call]
            solver.step()
        # The scale goes into the weights, so that whoever predicts need not know of it.
        layers = (_layer(first * settings.scale, first_bias), _layer(second, second_bias))
        yield Fit(layers, {"epochs": float(epoch + 1)})


def _beginning(fan_in: int, fan_out: int, generator: torch.Generator, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights and the bias that a layer begins with: uniform, as those of torch.nn.Linear."""
    import torch

    bound = fan_in**-0.5
    both = (torch.empty(fan_out, fan_in), torch.empty(fan_out))
    weight, bias = (one.uniform_(-bound, bound, generator=generator).to(device).requires_grad_() for one in both)
    return weight, bias


def _tensors(examples: Examples, weights: Floats, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    arrays: tuple[np.ndarray[Any, Any], ...] = (examples.inputs, examples.codes, weights)
    inputs, codes, rows = (torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in arrays)
    return inputs, codes, rows


def _layer(weight: torch.Tensor, bias: torch.Tensor) -> Layer:
    return Layer(*(one.detach().cpu().numpy().copy() for one in (weight, bias)))
