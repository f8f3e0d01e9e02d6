"""Image encoders of torchvision: `torchvision:NAME` for each of its classification models."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import urllib.parse
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpve.encoders import weights
from fpve.encoders.once import Once
from fpve.encoders.runtimes.cache import recalled, version_of
from fpve.encoders.vision import InputSpec, VisionEncoder
from fpve.errors import EncoderError, EncoderNotFound, nearest

if TYPE_CHECKING:
    import torch

    from fpve.config import EncoderConfig

DOWNLOAD_TIMEOUT_SECONDS = 10

# As torchvision itself builds them for its weights: these two expect their input normalised once more.
_BUILD_OPTIONS: dict[str, dict[str, Any]] = {
    "inception_v3": {"transform_input": True, "init_weights": False},
    "googlenet": {"transform_input": True, "init_weights": False},
}
# DenseNet's older checkpoints, the published ones among them, have a dot in the names of its layers.
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


class TorchvisionEncoder(VisionEncoder):
    """A classification model of torchvision without its last layer: the features are what that layer is given.

    Pictures are sized and normalised as the model's published weights want them. With pooling `gem`, GeM takes the
    place of the average pooling by which most convolutional networks end; `mean`, the default, is torchvision's own.
    A network that does not end in average pooling (AlexNet, VGG, ViT) takes neither option. GeM takes what is
    below 0 for 0, which loses something in networks that don't end in a ReLU (ConvNeXt, Swin, EfficientNet).

    Weights are those that torchvision calls DEFAULT, fetched once into torch hub's cache, or a local file.

    Args:
        config: with the options weights, resize, pooling, precision, batch_size and device.
        model: torchvision's name of the model. It is looked up when the model is first used, because that takes torch.
    """

    def __init__(self, config: EncoderConfig, model: str) -> None:
        super().__init__(config)
        self.model = model
        self._pooling = config.pooling
        self._weights = config.weights and weights.local_file(config.weights, encoder=config.name)
        self._published = Once(self._find)

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine."""
        return self._weights is not None or _cached_file(self._published()[0]).is_file()

    def settings(self) -> dict[str, Any]:
        """What decides the output beside weights, resize and precision: what an upgrade of it can change included."""
        return {
            "architecture": f"torchvision:{self.model}",
            "input": self.input().telling,
            "pooling": self._pooling or "mean",
        }

    def weights_file(self) -> Path:
        """Where the weights are; they are fetched if that is possible."""
        return self._weights or _published_file(self._published()[0], encoder=self.name)

    def input(self) -> InputSpec:
        """What the model wants to see."""
        return self._published()[1]

    def _recall_input(self) -> InputSpec:
        # Remembered already, by name and version; the fingerprint, the base's key, would have to read the weights.
        return self.input()

    def _find(self) -> tuple[str, InputSpec]:
        """Address of the model's published weights, and the input that they want; the first time it takes torch."""
        key = ("torchvision", self.model, version_of("torchvision"))
        found = recalled(*key, make=lambda: _look_up(self.model))
        return found["url"], InputSpec.of_json(found["input"])

    def network(self) -> torch.nn.Module:
        """Make the model without its last layer: normalised pictures (n, 3, side, side) to features (n, dim)."""
        model, site = self._load()
        if self._pooling is not None:
            if site is None:
                raise EncoderError(
                    f"encoder {self.name!r} does not end in average pooling, so pooling = {self._pooling!r} can't "
                    "be used: leave it out"
                )
            if self._pooling == "gem":
                site.register_forward_hook(_gem)
        return model

    def map_network(self) -> torch.nn.Module | None:
        """Make what is pooled; None for a network that does not end in average pooling.

        Also for one that makes something else of what it has pooled: MobileNetV3 and ConvNeXt have layers there.
        """
        import torch

        from fpve.encoders.networks import MapAt, pool

        model, site = self._load()
        if site is None:
            return None
        found = MapAt(model, site, before=isinstance(site, torch.nn.AdaptiveAvgPool2d))
        # Not of one colour: that might be pooled to what it is.
        pictures = torch.linspace(-2, 2, 3 * self.side**2).view(1, 3, self.side, self.side)
        with torch.inference_mode():
            pooled, features = pool(found(pictures), "mean"), model(pictures)
        same = pooled.shape == features.shape and torch.allclose(pooled, features, rtol=1e-3, atol=1e-5)
        return found if same else None

    def _load(self) -> tuple[torch.nn.Module, torch.nn.Module | None]:
        """The model without its last layer, and its `_pooling_site`."""
        import torch
        import torchvision.models

        spec = self.input()
        options = dict(_BUILD_OPTIONS.get(self.model, {}))
        if self.model.startswith("vit_"):
            options["image_size"] = spec.side
        model: torch.nn.Module = torchvision.models.get_model(self.model, weights=None, **options)
        _load_strictly(model, self.weights_file())
        site = _pooling_site(model)
        # The layer that torchvision registers last is the one that knows the classes: in all of its models.
        name = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)][
            -1
        ]
        model.set_submodule(name, torch.nn.Identity())
        return model.eval(), site


def _look_up(model: str) -> dict[str, Any]:
    """Address of a model's published weights, and the input that they want.

    Raises:
        EncoderNotFound: torchvision has no such model.
    """
    import torchvision.models

    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        raise EncoderNotFound(
            f"torchvision has no classification model {model!r}{nearest(model, known)}; {weights.OFFLINE_IMAGE}"
        )
    published = torchvision.models.get_model_weights(model).DEFAULT
    transforms = published.transforms()
    spec = InputSpec.of_unit_scale(transforms.crop_size[0], tuple(transforms.mean), tuple(transforms.std))
    return {"url": published.url, "input": asdict(spec)}


def _cached_file(url: str) -> Path:
    """Where torch hub keeps the file of published weights."""
    # As torch.hub.get_dir() has it, which would mean importing torch.
    base = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(base).expanduser() / "hub" / "checkpoints" / Path(urllib.parse.urlsplit(url).path).name


def _published_file(url: str, *, encoder: str) -> Path:
    """The file of published weights in torch hub's cache, where it is put if it is not there.

    Raises:
        EncoderNotFound: it is not there and can't be fetched.
    """
    import torch

    path = _cached_file(url)
    if path.is_file():
        return path
    # The published names end in the first digits of the file's SHA-256.
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # torch's download has no time limit for connecting, and would hang without a network.
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (an https address out of torchvision's own table)
        with contextlib.closing(urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_SECONDS)):  # noqa: S310 (as above)
            pass
        torch.hub.download_url_to_file(url, str(path), digits and digits[1], progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise EncoderNotFound(
            f"encoder {encoder!r}: its weights are not on this machine and can't be fetched from {url} "
            f"({weights.first_line(error)}); "
            f'fetch them elsewhere and give them as weights = "FILE"; {weights.OFFLINE_IMAGE}'
        ) from error
    return path


def _load_strictly(model: torch.nn.Module, path: Path) -> None:
    """Fill a model with exactly the tensors of a file.

    Raises:
        EncoderError: a tensor is missing, too many or of another shape.
    """
    found = {_OLD_DENSENET_KEY.sub(r"\1\2", name): tensor for name, tensor in weights.read_state_dict(path).items()}
    expected = model.state_dict()
    # Checkpoints from before torch 0.4.1 lack these counters, which only training uses.
    found = {name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")} | found
    if difference := _difference(found, expected):
        raise EncoderError(f"{path}: not the weights of this model: {difference}")
    # Not load_state_dict: MNASNet's refuses tensors without torch's version metadata, which .safetensors lacks.
    for name, tensor in expected.items():
        tensor.copy_(found[name])


def _difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> str:
    """What first keeps `found` from being `expected`, or an empty string."""
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        sides = [
            f"{len(names)} {what}, such as {names[0]!r}"
            for what, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        return f"of its {len(expected)} tensors {' and '.join(sides)}"
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            return f"{name!r} should have the shape {tuple(tensor.shape)}, has {tuple(found[name].shape)}"
    return ""


def _pooling_site(model: torch.nn.Module) -> torch.nn.Module | None:
    """The module that pools the last feature map to one position, or whose output `forward` itself pools so."""
    import torch

    for holder in (model, getattr(model, "classifier", None)):
        for layer in holder.children() if holder is not None else ():
            if isinstance(layer, torch.nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
                return layer
    if hasattr(model, "avgpool"):
        # AlexNet and VGG pool to several positions.
        return None
    # MNASNet, ShuffleNet, and DenseNet and MobileNetV2, in this order.
    return next((getattr(model, name) for name in ("layers", "conv5", "features") if hasattr(model, name)), None)


def _gem(site: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    """Forward hook that pools by GeM at `_pooling_site`; averaging the one position that is left changes nothing."""
    import torch

    from fpve.encoders.networks import pool

    feature_map = inputs[0] if isinstance(site, torch.nn.AdaptiveAvgPool2d) else output
    return pool(feature_map, "gem")[:, :, None, None]
