"""Networks in NumPy: what they compute, and what they refuse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fpve.heads.classifier import Classifier
from fpve.heads.network import Layer, Network, softmax


def random_network(*sizes: int, seed: int = 0, temperature: float = 1.0) -> Network:
    """A network of layers of these sizes with random weights."""
    random = np.random.default_rng(seed)
    layers = [
        Layer(random.normal(size=(to, of)).astype(np.float32), random.normal(size=to).astype(np.float32))
        for of, to in pairwise(sizes)
    ]
    return Network(tuple(layers), temperature)


def test_a_network_computes_what_its_layers_say() -> None:
    """One layer is a product and a sum; between two, negative values become 0; probabilities are a softmax at T."""
    first = Layer(np.array([[1, 0], [0, -1]], np.float32), np.array([0, 1], np.float32))
    second = Layer(np.array([[2, 0], [0, 3], [1, 1]], np.float32), np.array([0, 0, -1], np.float32))
    inputs = np.array([[-5, 0.5], [1, 2]], np.float32)
    assert Network((first,)).logits(inputs).tolist() == [[-5, 0.5], [1, -1]]
    assert Network((first, second)).logits(inputs).tolist() == [[0, 1.5, -0.5], [2, 0, 0]]
    expected = np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum()
    np.testing.assert_allclose(Network((first, second), 2.0).probabilities(inputs)[1], expected, rtol=1e-12)


def test_it_computes_what_torch_computes() -> None:
    """NumPy's forward pass is torch's, to rounding; whatever the number of rows is."""
    import torch

    network = random_network(30, 7, 4)
    inputs = np.random.default_rng(1).normal(size=(5_000, 30)).astype(np.float32)
    with torch.no_grad():
        hidden = torch.from_numpy(inputs)
        for at, layer in enumerate(network.layers):
            hidden = torch.nn.functional.linear(hidden.relu() if at else hidden, *map(torch.from_numpy, layer))
        expected = hidden.softmax(dim=1).numpy()
    np.testing.assert_allclose(network.probabilities(inputs), expected, atol=2e-6)
    assert network.logits(inputs[:0]).shape == (0, 4)


def test_large_logits_do_not_overflow() -> None:
    """Probabilities of logits that exp can't take are 1 and 0."""
    assert softmax(np.array([[5_000, -5_000]], np.float32)).tolist() == [[1.0, 0.0]]


BAD = [
    (lambda: Network(()), "at least one layer"),
    (lambda: Network(random_network(2, 2).layers, 0.0), "temperature above 0"),
    (lambda: Network(random_network(2, 2).layers, float("nan")), "temperature above 0"),
    (lambda: Network((*random_network(2, 3).layers, *random_network(4, 2).layers)), "takes 4 numbers, and gets 3"),
    (lambda: Network((Layer(np.ones((2, 2)), np.ones(2)),)), "float32"),
    (lambda: Network((Layer(np.ones((2, 2), np.float32), np.ones(3, np.float32)),)), r"weight \(out, in\)"),
    (lambda: Network((Layer(np.full((2, 2), np.nan, np.float32), np.ones(2, np.float32)),)), "not finite"),
    (lambda: random_network(3, 2).logits(np.ones((1, 4), np.float32)), "inputs of 3 numbers"),
    (lambda: Classifier(5, 3, None, None), "expected a network"),
    (lambda: Classifier(5, 3, random_network(4, 2), None), "takes 5 numbers"),
    (lambda: Classifier(5, 3, random_network(5, 2), random_network(5, 2)), "takes 3 numbers"),
    (lambda: Classifier(5, 3, random_network(5, 2), random_network(3, 3)), "the same classes"),
    (lambda: Classifier(5, 3, random_network(5, 2), None).probabilities(np.ones((1, 4), np.float32)), "5 numbers"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    """Shapes that contradict one another, and values that are not finite, are errors that say so."""
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_queries_without_a_prefix_have_a_network_of_their_own() -> None:
    """A query whose prefix block is zero is answered by the network of pictures, the others by the other one."""
    full, bare = random_network(5, 2, seed=1), random_network(3, 2, seed=2)
    queries = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    queries[1::2, 3:] = 0
    both = Classifier(5, 3, full, bare).probabilities(queries)
    np.testing.assert_array_equal(both[::2], full.probabilities(queries[::2]))
    np.testing.assert_array_equal(both[1::2], bare.probabilities(queries[1::2, :3]))
    np.testing.assert_array_equal(
        Classifier(5, 3, None, bare).probabilities(queries), bare.probabilities(queries[:, :3])
    )
    np.testing.assert_array_equal(Classifier(5, 3, full, None).probabilities(queries), full.probabilities(queries))


def test_predicting_needs_no_torch() -> None:
    """Neither the modules that predict nor a prediction import it."""
    from test_layers import imported_by

    code = (
        "import numpy as np; from fpve.heads.head import Head; from fpve.heads.network import Layer, Network; "
        "Network((Layer(np.ones((2, 3), np.float32), np.ones(2, np.float32)),)).probabilities(np.ones((1, 3)))"
    )
    assert not imported_by(code) & {"torch", "sentence_transformers", "timm"}
