"""Heads as files: what is written is what is read, to the bit, and damage is said in one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads.test_network import random_network
from safetensors import safe_open

from fpve.errors import StoreCorrupt
from fpve.heads.classifier import Classifier
from fpve.heads.head import Head


def make_head(**changes: object) -> Head:
    """A head of three classes with two networks."""
    classifier = Classifier(5, 3, random_network(5, 4, 3, temperature=1.25), random_network(3, 4, 3, seed=1))
    head = Head(
        kind="mlp",
        label="art",
        names=("Ä", "b", "c"),
        classifier=classifier,
        image_weight=0.3,
        snapshot=7,
        space="0123456789abcdef",
        settings={"hidden": 4, "class_weight": None},
        metrics={"accuracy": 0.9, "held_out": 40.0},
    )
    return replace(head, **changes)  # type: ignore[arg-type]


def test_what_is_written_is_what_is_read() -> None:
    """Everything that a head is comes back, and its weights to the bit."""
    head = make_head()
    again = Head.loads(head.dumps(), "head")
    for name in ("kind", "label", "names", "image_weight", "snapshot", "space", "settings", "metrics"):
        assert getattr(again, name) == getattr(head, name)
    for name, network in head.classifier.networks.items():
        other = again.classifier.networks[name]
        assert other.temperature == network.temperature
        assert [part.tobytes() for layer in other.layers for part in layer] == [
            part.tobytes() for layer in network.layers for part in layer
        ]
    queries = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    np.testing.assert_array_equal(again.probabilities(queries), head.probabilities(queries))
    alone = make_head(classifier=Classifier(5, 3, None, random_network(3, 3)))
    assert Head.loads(alone.dumps(), "head").classifier.full is None


def test_the_same_head_is_the_same_bytes() -> None:
    """So that a file which is named by its content has one name."""
    assert len({make_head().dumps() for _ in range(20)}) == 1


def test_any_program_can_read_it(tmp_path: Path) -> None:
    """The file is safetensors; what it is stands in its metadata, as JSON."""
    (tmp_path / "head.safetensors").write_bytes(make_head().dumps())
    with safe_open(tmp_path / "head.safetensors", "numpy") as file:
        assert sorted(file.keys()) == [
            f"{name}.{number}.{part}" for name in ("bare", "full") for number in (0, 1) for part in ("bias", "weight")
        ]
        assert file.get_tensor("full.0.weight").shape == (4, 5)
        said = json.loads(file.metadata()["fpve"])
    assert (said["label"], said["names"], said["snapshot"]) == ("art", ["Ä", "b", "c"], 7)
    assert said["temperature"] == {"full": 1.25, "bare": 1.0}


def with_metadata(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    """A head's bytes with other metadata."""

    def changed(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        said = json.loads(header["__metadata__"]["fpve"])
        change(said)
        header["__metadata__"]["fpve"] = json.dumps(said)
        written = json.dumps(header).encode()
        return struct.pack("<Q", len(written)) + written + data[8 + size :]

    return changed


DAMAGE = [
    (lambda data: b"", "found damage"),
    (lambda data: data[: len(data) // 2], "found damage"),
    (lambda data: data[:-4] + struct.pack("<f", float("nan")), "a weight is not finite"),
    (lambda data: b"\xff" * 8 + data[8:], "found damage"),
    (with_metadata(lambda said: said.update(names=["a", "b"])), "expected 3 different classes, found 2"),
    (with_metadata(lambda said: said.update(names=["a", "b", "b"])), "expected 3 different classes, found 2"),
    (with_metadata(lambda said: said.update(dim=6)), "expected a network that takes 6 numbers"),
    (with_metadata(lambda said: said.update(format_version=2)), "expected fpve-head 1, found fpve-head 2"),
    (with_metadata(lambda said: said.pop("label")), "label"),
    (with_metadata(lambda said: said["temperature"].pop("bare")), "an array 'bare.0.bias' that no network has"),
    (with_metadata(lambda said: said["temperature"].update(full=0)), "temperature above 0"),
    (with_metadata(lambda said: said["temperature"].update(other=1)), "at least one layer"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_said_in_one_line(damage: Callable[[bytes], bytes], message: str) -> None:
    """Whatever is wrong with a file is a StoreCorrupt that names it, and nothing else is raised."""
    with pytest.raises(StoreCorrupt, match=message) as error:
        Head.loads(damage(make_head().dumps()), "heads/x.safetensors")
    assert str(error.value).startswith("heads/x.safetensors: expected a head as fpve saves it")
    assert "\n" not in str(error.value)


def test_no_flipped_bit_raises_anything_else() -> None:
    """A head's bytes with any one bit flipped are a head, or a StoreCorrupt."""
    data = make_head().dumps()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(data), 300):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(random.integers(0, 8))
        try:
            Head.loads(bytes(flipped), "head")
        except StoreCorrupt as error:
            assert "\n" not in str(error)  # noqa: PT017 (what else is raised fails the test)
