"""Image encoders of timm: `timm:NAME` for each of its models, with or without a tag."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fpve.encoders import hub, weights
from fpve.encoders.once import Once
from fpve.encoders.runtimes.cache import recalled, version_of
from fpve.encoders.vision import InputSpec, VisionEncoder
from fpve.errors import EncoderError, EncoderNotFound, nearest

if TYPE_CHECKING:
    import torch

    from fpve.config import EncoderConfig, Pooling
    from fpve.encoders.networks import Pooled

# What timm calls the weights in a repository of its own.
_FILES = ("model.safetensors", "pytorch_model.bin")
# Of a pretrained configuration.
_FIELDS = ("tag", "hf_hub_id", "hf_hub_filename", "input_size", "mean", "std", "classifier")


class TimmEncoder(VisionEncoder):
    """A model of timm without its classifier.

    Pictures are sized and normalised as the pretrained configuration of the name and tag says. The features are timm's
    own (`num_classes=0`): what the classifier would be given. With pooling `gem` or `mean` they are the last feature
    map, pooled so; a model that does not end in one, such as a ViT, takes neither. GeM takes what is below 0 for 0,
    which loses something in networks that don't end in a ReLU.

    Weights are those of the tag, fetched once into the Hugging Face hub's cache, where timm finds them too, or a local
    file. A local file may have a classifier of any number of classes, or none.

    Args:
        config: with the options weights, resize, pooling, precision, batch_size and device.
        model: timm's name of the model, such as `vit_small_patch14_dinov2.lvd142m`; without a tag it is timm's default.
            It is looked up when the model is first used, because that takes torch.
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
        if self._weights is not None:
            return True
        repository = self._published().hf_hub_id
        return bool(repository) and hub.cached_file(repository, self._files()) is not None

    def settings(self) -> dict[str, Any]:
        """What decides the output beside weights, resize and precision: what an upgrade of timm can change included."""
        # Which tag a name without one stands for is the installed timm's affair, and so is how pictures are normalised.
        name, _, tag = self.model.partition(".")
        tag = tag or self._published().tag or ""
        return {
            "architecture": f"timm:{name}.{tag}" if tag else f"timm:{name}",
            "input": self.input().telling,
            "pooling": self._pooling or "timm",
        }

    def weights_file(self) -> Path:
        """Where the weights are; they are fetched if that is possible."""
        if self._weights is not None:
            return self._weights
        repository = self._published().hf_hub_id
        remedy = f'fetch them elsewhere and give them as weights = "FILE"; {weights.OFFLINE_IMAGE}'
        if not repository:
            raise EncoderNotFound(f"encoder {self.name!r}: timm has no weights of it on the Hugging Face hub; {remedy}")
        return hub.fetch_file(repository, self._files(), encoder=self.name, remedy=remedy)

    def input(self) -> InputSpec:
        """What the model wants to see."""
        published = self._published()
        channels, height, width = published.input_size
        if channels != 3 or height != width:
            raise EncoderError(
                f"encoder {self.name!r}: expected a model of square RGB pictures, found one of {height} x {width} "
                f"pixels with {channels} channels; {weights.OFFLINE_IMAGE}"
            )
        return InputSpec.of_unit_scale(height, tuple(published.mean), tuple(published.std))

    def _recall_input(self) -> InputSpec:
        # Remembered already, by name and version; the fingerprint, the base's key, would have to read the weights.
        return self.input()

    def network(self) -> torch.nn.Module:
        """Make the model: normalised pictures (n, 3, side, side) to features (n, dim)."""
        if self._pooling is None:
            return self._load()
        pooled = self._pooled(self._pooling)
        if pooled is None:
            raise EncoderError(
                f"encoder {self.name!r} does not end in a feature map, so pooling = {self._pooling!r} can't be used: "
                "leave it out"
            )
        return pooled

    def map_network(self) -> torch.nn.Module | None:
        """Make what poolings pool; None for a model that does not end in a feature map."""
        from fpve.encoders.networks import LastMap

        pooled = self._pooled("mean")
        return None if pooled is None else LastMap(pooled)

    def _pooled(self, pooling: Pooling) -> Pooled | None:
        """The model with its last feature map pooled; None if it does not end in one."""
        import torch

        from fpve.encoders.networks import Pooled

        model = self._load()
        side = self.side
        with torch.inference_mode():
            features = model.forward_features(torch.zeros(1, 3, side, side))  # type: ignore[operator]
        width = model.num_features
        if features.ndim != 4 or width not in (features.shape[1], features.shape[3]):
            return None
        return Pooled(model, pooling, channels_last=features.shape[1] != width)

    def _files(self) -> tuple[str, ...]:
        named = self._published().hf_hub_filename
        return (named,) if named else _FILES

    def _find(self) -> SimpleNamespace:
        """What is of interest in the model's pretrained configuration; the first time it takes torch.

        Raises:
            EncoderNotFound: timm has no such model, or no such tag of it.
        """
        found = recalled("timm", *_FIELDS, self.model, version_of("timm"), make=lambda: _look_up(self.model))
        return SimpleNamespace(**found)

    def _load(self) -> torch.nn.Module:
        """The model with its weights, and without its classifier.

        Raises:
            EncoderError: they are not those of this model.
        """
        import timm

        published, path = self._published(), self.weights_file()
        tensors = weights.read_state_dict(path)
        classes = _classes(tensors, published.classifier)
        try:
            # All tensors must be there and fit, the classifier's among them, where the file has one.
            model: torch.nn.Module = timm.create_model(
                self.model,
                pretrained=True,
                num_classes=classes,
                pretrained_cfg_overlay={"state_dict": tensors, "num_classes": classes, "custom_load": False},
            )
        except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
            raise EncoderError(f"{path}: not the weights of {self.model}: {weights.misfit(error)}") from error
        if classes:
            model.reset_classifier(0)  # type: ignore[operator]
        return model.eval()


def _classes(tensors: dict[str, torch.Tensor], classifier: str | tuple[str, ...] | None) -> int:
    """How many classes a checkpoint's classifier tells apart; 0 where it has none."""
    first = classifier if isinstance(classifier, str) or classifier is None else classifier[0]
    for name in (f"{first}.bias", f"{first}.weight"):
        if name in tensors:
            return int(tensors[name].shape[0])
    return 0


def _look_up(model: str) -> dict[str, Any]:
    """The fields of a model's pretrained configuration.

    Raises:
        EncoderNotFound: timm has no such model, or no such tag of it.
    """
    import timm

    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        raise EncoderNotFound(f"timm has no model {name!r}{nearest(name, timm.list_models())}; {weights.OFFLINE_IMAGE}")
    tags = [one.partition(".")[2] for one in timm.list_models(f"{name}.*", pretrained=True)]
    if tag and tag not in tags:
        there = f"it has {', '.join(tags)}" if tags else "it has none: leave it out"
        raise EncoderNotFound(f"timm has no tag {tag!r} of {name}{nearest(tag, tags)}; {there}")
    found = timm.get_pretrained_cfg(model)
    return {name: getattr(found, name) for name in _FIELDS}
