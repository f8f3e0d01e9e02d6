"""Parts of networks, in torch. Imported inside functions only, for it imports torch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fpve.config import Pooling

# The exponent of GeM that Radenović et al. start from, and close to what they learn.
GEM_POWER = 3.0
# Their clamp: 0 has no gradient under a root, and less than 0 has no real cube root in general.
GEM_FLOOR = 1e-6


def pool(feature_map: torch.Tensor, pooling: Pooling, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Pool a feature map (n, c, h, w) to (n, c), by the mean or by the generalised mean.

    GeM is (mean over positions of max(x, GEM_FLOOR)^p)^(1/p) with p = GEM_POWER: Radenović, Tolias and Chum,
    *Fine-tuning CNN image retrieval with no human annotation*, TPAMI 2018 (arXiv:1711.02512), section 3.2.

    With weights (n, h, w), which add up to 1, means over positions are weighted by them.
    """
    if pooling == "mean":
        return _averaged(feature_map, weights)
    powers = feature_map.clamp(min=GEM_FLOOR).pow(GEM_POWER)
    return _averaged(powers, weights).pow(1 / GEM_POWER)


def _averaged(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    return values.mean((2, 3)) if weights is None else torch.einsum("nchw,nhw->nc", values, weights)


class Pooled(torch.nn.Module):
    """The last feature map of a timm model, pooled: normalised pictures (n, 3, side, side) to features (n, c).

    With `channels_last` the model makes its map as (n, h, w, c), as Swin does.
    """

    def __init__(self, model: torch.nn.Module, pooling: Pooling, *, channels_last: bool = False) -> None:
        super().__init__()
        self.model = model
        self.pooling: Pooling = pooling
        self.channels_last = channels_last

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return pool(self.feature_map(pictures), self.pooling)

    def feature_map(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return what is pooled, (n, c, h, w)."""
        feature_map: torch.Tensor = self.model.forward_features(pictures)  # type: ignore[operator]
        return feature_map.permute(0, 3, 1, 2) if self.channels_last else feature_map


class LastMap(torch.nn.Module):
    """What a network pools: normalised pictures (n, 3, side, side) to its last feature map (n, c, h, w)."""

    def __init__(self, network: Pooled) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the feature map."""
        return self.network.feature_map(pictures)


class MapAt(torch.nn.Module):
    """What a network pools at one of its modules: normalised pictures (n, 3, side, side) to a map (n, c, h, w).

    With `before` it is what the module is given, else what it makes.
    """

    def __init__(self, network: torch.nn.Module, site: torch.nn.Module, *, before: bool) -> None:
        super().__init__()
        self.network = network
        # Of each thread its own: on a CPU several run the network at once.
        self._seen: dict[int, torch.Tensor] = {}

        def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            self._seen[threading.get_ident()] = inputs[0] if before else output

        site.register_forward_hook(keep)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the feature map."""
        self.network(pictures)
        return self._seen.pop(threading.get_ident())


class FromPixels(torch.nn.Module):
    """A network with its normalisation before it: pictures (n, side, side, 3) uint8 to features (n, dim).

    `(x - mean) / std` of each channel, with pixel values of 0 to 255.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features. Seen as NCHW without copying, the NHWC pixels are in channels_last order already."""
        pictures = (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        features: torch.Tensor = self.network(pictures)
        return features


class SentencePictures(torch.nn.Module):
    """The picture side of a sentence-transformers model: normalised pictures (n, 3, side, side) to embeddings."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        for module in model.modules():
            # What traces a network looks at all attributes, and this one prints that there is no loss.
            if hasattr(type(module), "loss_function"):
                module.loss_function = None  # type: ignore[assignment]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (n, dim)."""
        found: torch.Tensor = self.model({"pixel_values": pictures, "modality": "image"})["sentence_embedding"]
        return found


class FirstOutput(torch.nn.Module):
    """A network that may give tokens beside its features: only the features."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        found = self.network(pictures)
        features: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return features
