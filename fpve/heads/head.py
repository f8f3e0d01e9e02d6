"""A head as a file: safetensors, so that nothing is pickled; its metadata says what it is and where it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpve.errors import StoreCorrupt
from fpve.fusion import Floats
from fpve.heads.classifier import Classifier
from fpve.heads.network import Layer, Network

FORMAT = "fpve-head"
FORMAT_VERSION = 1
# One key for everything: safetensors writes several in another order each time, and the file is named by its content.
_KEY = "fpve"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A classifier that has learnt a label column.

    Attributes:
        kind: `logistic` or `mlp`.
        label: the column.
        names: the classes, sorted; those of the classifier in its order.
        classifier: what was learnt.
        image_weight: the weight A at which its queries are made.
        snapshot: number of the snapshot that it learnt from.
        space: what makes its queries: encoders, mode and means, as `fpve.store.heads.space_of` names them.
        settings: how it learnt.
        metrics: how well it did on held-out images; empty if these were too few.

    Raises:
        ValueError: the names are not those of so many classes.
    """

    kind: str
    label: str
    names: tuple[str, ...]
    classifier: Classifier
    image_weight: float
    snapshot: int
    space: str
    settings: dict[str, Any]
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        """Check the names."""
        if len(self.names) != self.classifier.classes or len(set(self.names)) != len(self.names):
            raise ValueError(f"expected {self.classifier.classes} different classes, found {len(set(self.names))}")

    def probabilities(self, queries: Floats) -> NDArray[np.float64]:
        """The probabilities (m, classes) of queries (m, dim), as `Fusion.query` makes them at `image_weight`."""
        return self.classifier.probabilities(queries)

    def dumps(self) -> bytes:
        """The head as the bytes of a safetensors file: always the same ones."""
        from safetensors.numpy import save

        one = self.classifier
        said = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "label": self.label,
            "names": list(self.names),
            "image_weight": self.image_weight,
            "dim": one.dim,
            "image_dim": one.image_dim,
            "temperature": {name: network.temperature for name, network in one.networks.items()},
            "snapshot": self.snapshot,
            "space": self.space,
            "settings": self.settings,
            "metrics": self.metrics,
        }
        arrays = {
            f"{name}.{number}.{part}": np.ascontiguousarray(values)
            for name, network in one.networks.items()
            for number, layer in enumerate(network.layers)
            for part, values in layer._asdict().items()
        }
        data: bytes = save(arrays, {_KEY: json.dumps(said, ensure_ascii=False, allow_nan=False)})
        return data

    @classmethod
    def loads(cls, data: bytes, name: str) -> Head:
        """Read the bytes of a head's file, which messages call `name`.

        Raises:
            StoreCorrupt: they are no head, or one that contradicts itself.
        """
        try:
            return _read(data)
        except Exception as error:
            # Of any kind: those of safetensors have no base in common with what a wrong value raises here.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreCorrupt(f"{name}: expected a head as fpve saves it, found damage: {reason}") from error


def _read(data: bytes) -> Head:
    from safetensors.numpy import load

    # The metadata lies in the header, a JSON object behind its length; the library gives it for paths only.
    arrays = load(data)
    size = int.from_bytes(data[:8], "little")
    said: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
    if (said["format"], said["format_version"]) != (FORMAT, FORMAT_VERSION):
        raise ValueError(f"expected {FORMAT} {FORMAT_VERSION}, found {said['format']} {said['format_version']}")
    networks = {name: _network(name, arrays, float(T)) for name, T in said["temperature"].items()}
    if arrays:
        raise ValueError(f"an array {min(arrays)!r} that no network has")
    return Head(
        kind=str(said["kind"]),
        label=str(said["label"]),
        names=tuple(map(str, said["names"])),
        classifier=Classifier(int(said["dim"]), int(said["image_dim"]), networks.get("full"), networks.get("bare")),
        image_weight=float(said["image_weight"]),
        snapshot=int(said["snapshot"]),
        space=str(said["space"]),
        settings=dict(said["settings"]),
        metrics={name: float(value) for name, value in said["metrics"].items()},
    )


def _network(name: str, arrays: dict[str, NDArray[Any]], temperature: float) -> Network:
    """Take the layers of a network out of the arrays."""
    layers: list[Layer] = []
    while f"{name}.{len(layers)}.weight" in arrays:
        parts = (arrays.pop(f"{name}.{len(layers)}.{part}") for part in Layer._fields)
        layers.append(Layer(*parts))
    return Network(tuple(layers), temperature)
