"""Encoders of open_clip: `open_clip:NAME/PRETRAINED` and `open_clip:PATH`, for pictures and for texts.

The library is the extra `open-clip`: `pip install 'fpve[open-clip]'`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpve.encoders import hub, weights
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.runtimes.cache import recalled, version_of
from fpve.encoders.runtimes.machine import pick_device
from fpve.encoders.sentence_model import NOT_THE_MODEL
from fpve.encoders.vision import InputSpec, VisionEncoder
from fpve.errors import EncoderError, EncoderNotFound, nearest

if TYPE_CHECKING:
    import torch

    from fpve.config import EncoderConfig
    from fpve.encoders.protocol import Floats

INSTALL = "`pip install 'fpve[open-clip]'`"
CONFIG = "open_clip_config.json"
TEXT_BATCH = 64
# ViT-B-32 has 22.
_SHOWN_TAGS = 6
# What open_clip calls the weights in a repository that names none.
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClipModel:
    """A model of open_clip: its configuration, where its weights are, and how it is made.

    Args:
        config: with the option weights.
        source: a directory as open_clip publishes them on the hub; or NAME/PRETRAINED, or NAME with a file of weights.

    Raises:
        EncoderNotFound: the library is not installed, or a file or directory is not there.
    """

    def __init__(self, config: EncoderConfig, source: str, *, offline: str) -> None:
        self.name = config.name
        self._offline = offline
        if importlib.util.find_spec("open_clip") is None:
            raise EncoderNotFound(
                f"encoder {self.name!r} needs open_clip, which is not installed: {INSTALL}; {offline}"
            )
        self._weights = config.weights and weights.local_file(config.weights, encoder=config.name)
        path = Path(source).expanduser()
        self._directory = path if path.is_dir() else None
        if self._directory is not None and not (self._directory / CONFIG).is_file():
            raise EncoderNotFound(f"encoder {self.name!r}: no {CONFIG} in the directory {path}; {offline}")
        if self._directory is None and (source.startswith((".", "/", "~")) or source.count("/") > 1):
            raise EncoderNotFound(f"encoder {self.name!r}: no directory of a model at {path}; {offline}")
        self._architecture, _, self._tag = source.partition("/")
        # Where a directory lies does not matter; its files count.
        self.identity = "open_clip" if self._directory is not None else f"open_clip:{source}"
        self._described = Once(self._describe)

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine."""
        if self._directory is not None or self._weights is not None:
            return True
        return hub.cached_file(*self._repository()) is not None

    @cached_property
    def space(self) -> str:
        """Name of the space into which it embeds pictures and texts."""
        return "open_clip:" + fingerprint({"architecture": self.identity}, self.files(), ignore=NOT_THE_MODEL)

    def files(self) -> Path:
        """The directory, or the file of weights; it is fetched if that is possible.

        Raises:
            EncoderNotFound: it is not there and can't be fetched.
        """
        if self._weights is not None:
            return self._weights
        if self._directory is not None:
            return self._directory
        remedy = f'fetch it elsewhere and give it as weights = "FILE"; {self._offline}'
        repository, names = self._repository()
        return hub.fetch_file(repository, names, encoder=self.name, remedy=remedy)

    def input(self) -> InputSpec:
        """The side of its pictures and their normalisation; open_clip's defaults where it names none."""
        model, preprocessing = self._described()
        side = model["vision_cfg"].get("image_size", 224)
        height, width = (side, side) if isinstance(side, int) else side
        if height != width:
            raise EncoderError(
                f"encoder {self.name!r}: expected a model of square pictures, found {height} x {width}; {self._offline}"
            )
        mean, std = preprocessing.get("mean"), preprocessing.get("std")
        if mean is None or std is None:
            usual = recalled("open_clip usual", version_of("open_clip_torch"), make=_usual)
            mean, std = mean or usual["mean"], std or usual["std"]
        return InputSpec.of_unit_scale(int(height), tuple(mean), tuple(std))

    def settings(self) -> dict[str, Any]:
        """What decides the output of both sides beside the files: of a name also what the library's tables say."""
        model, preprocessing = self._described()
        quick = bool(preprocessing.get("quick_gelu") or model.get("quick_gelu"))
        return {"architecture": self.identity, "quick_gelu": quick}

    def make(self) -> Any:
        """The model with its weights, on the CPU in float32.

        Raises:
            EncoderNotFound: a file that it needs is not there and can't be fetched.
            EncoderError: the weights are not those of the model.
        """
        _, preprocessing = self._described()
        path = self.files()
        with _quiet():
            import open_clip

            try:
                if path.is_dir():
                    model = open_clip.create_model(f"local-dir:{path}", require_pretrained=True)
                else:
                    # A tag's weights can want another activation than the name's configuration says.
                    quick = bool(preprocessing.get("quick_gelu"))
                    model = open_clip.create_model(self._architecture, pretrained=str(path), force_quick_gelu=quick)
            except Exception as error:  # it reads files in many formats, each with a library of its own
                raise EncoderError(
                    f"{path}: not the weights of {self.name!r}: {weights.misfit(error)}; {self._offline}"
                ) from error
        return model.float().eval()

    def tokenizer(self) -> Any:
        """What turns texts into numbers.

        Raises:
            EncoderNotFound: its files are on the hub only, and can't be fetched.
        """
        with _quiet():
            import open_clip

            source = f"local-dir:{self._directory}" if self._directory is not None else self._architecture
            try:
                return open_clip.get_tokenizer(source)
            except Exception as error:  # transformers raises what its HTTP library raises
                raise EncoderNotFound(
                    f"encoder {self.name!r}: its tokenizer can't be loaded or fetched ({weights.first_line(error)}); "
                    f"give the model's directory as open_clip:PATH; {self._offline}"
                ) from error

    def _repository(self) -> tuple[str, Sequence[str]]:
        """The repository of the tag's weights, and the names that the file can have."""
        _, preprocessing = self._described()
        if not self._tag:
            raise EncoderNotFound(
                f"encoder {self.name!r}: expected open_clip:NAME/PRETRAINED, or a file as weights; "
                f"there is {_listed(_tags(self._architecture)) or 'no published one'}"
            )
        repository, _, file = str(preprocessing["hf_hub"]).rpartition("/")
        return repository, (file,) if file else _FILES

    def _describe(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The model's configuration, and how its weights want pictures to be normalised.

        Raises:
            EncoderNotFound: open_clip has no such model, or no such weights of it.
            EncoderError: the directory's configuration can't be read.
        """
        if self._directory is not None:
            file = self._directory / CONFIG
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                return content["model_cfg"], content.get("preprocess_cfg", {})
            except (OSError, ValueError, KeyError) as error:
                raise EncoderError(f"{file}: expected model_cfg and preprocess_cfg in JSON: {error!r}") from error
        key = ("open_clip", self._architecture, self._tag, version_of("open_clip_torch"))
        model, published = recalled(*key, make=self._look_up)
        return model, published

    def _look_up(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The same from the library's own tables. Takes torch.

        Raises:
            EncoderNotFound: open_clip has no such model, or no such weights of it.
        """
        with _quiet():
            import open_clip

            model = open_clip.get_model_config(self._architecture)
            if model is None:
                known = open_clip.list_models()
                hint = nearest(self._architecture, known)
                raise EncoderNotFound(f"open_clip has no model {self._architecture!r}{hint}; {self._offline}")
            if not self._tag:
                return model, {}
            published = open_clip.get_pretrained_cfg(self._architecture, self._tag)
        if not published:
            tags = _tags(self._architecture)
            raise EncoderNotFound(
                f"open_clip has no weights {self._tag!r} of {self._architecture}{nearest(self._tag, tags)}; there is "
                f"{_listed(tags) or 'no published one: give a file as weights'}"
            )
        return model, published


class OpenClipImageEncoder(VisionEncoder):
    """The picture side of a model of open_clip: features (n, dim) in the space of its texts, not normalised.

    Args:
        config: with the options weights, resize, precision, batch_size and device.
        source: as of OpenClipModel.
    """

    def __init__(self, config: EncoderConfig, source: str) -> None:
        super().__init__(config)
        self._clip = OpenClipModel(config, source, offline=weights.OFFLINE_IMAGE)

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine."""
        return self._clip.available

    @property
    def space(self) -> str:
        """Name of the space in which the same model embeds texts."""
        return self._clip.space

    def settings(self) -> dict[str, Any]:
        """What decides the output beside weights, resize and precision: what an upgrade can change included."""
        return {**self._clip.settings(), "input": self.input().telling}

    def weights_file(self) -> Path:
        """Where the weights are; they are fetched if that is possible."""
        return self._clip.files()

    def input(self) -> InputSpec:
        """What the model wants to see."""
        return self._clip.input()

    def _recall_input(self) -> InputSpec:
        # Remembered already, by name and version; the fingerprint, the base's key, would have to read the weights.
        return self.input()

    def network(self) -> torch.nn.Module:
        """Make the model's picture side: normalised pictures (n, 3, side, side) to features (n, dim)."""
        from fpve.encoders.networks import FirstOutput

        return FirstOutput(self._clip.make().visual)


class OpenClipTextEncoder:
    """The text side of a model of open_clip: embeddings (n, dim) in the space of its pictures, not normalised.

    Args:
        config: with the options weights, batch_size and device.
        source: as of OpenClipModel.
    """

    def __init__(self, config: EncoderConfig, source: str) -> None:
        self.name = config.name
        self._batch_size = config.batch_size or TEXT_BATCH
        self._device = config.device
        self._clip = OpenClipModel(config, source, offline=weights.OFFLINE_TEXT)
        self._loaded = Once(self._load)
        self._encoding = threading.Lock()

    @property
    def batch_size(self) -> int:
        """How many texts one pass through the model takes."""
        return self._batch_size

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine."""
        return self._clip.available

    @property
    def space(self) -> str:
        """Name of the space in which the same model embeds pictures."""
        return self._clip.space

    @cached_property
    def dim(self) -> int:
        """Length of an embedding. Loads the model."""
        return int(self._rows(["a"]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Digest of weights, architecture and precision. Without a directory it needs torch, once for each version."""
        settings = {**self._clip.settings(), "input": "text", "precision": "float32"}
        return fingerprint(settings, self._clip.files(), ignore=NOT_THE_MODEL)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32; what is longer than the model's context is cut off.

        Raises:
            EncoderNotFound: the weights or the tokenizer are not on this machine and can't be fetched.
            EncoderError: they can't be loaded.
        """
        texts, step = list(texts), self._batch_size
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return np.concatenate([self._rows(texts[at : at + step]) for at in range(0, len(texts), step)])

    def _rows(self, texts: list[str]) -> Floats:
        import torch

        model, tokenize, device = self._loaded()
        # A tokenizer holds padding and truncation as its state.
        with self._encoding, torch.inference_mode():
            rows = model.encode_text(tokenize(texts).to(device), normalize=False)
        return np.ascontiguousarray(rows.float().cpu().numpy(), np.float32)

    def _load(self) -> tuple[Any, Any, torch.device]:
        import torch

        device, model = pick_device(self._device), self._clip.make()
        # The other half of the model, which texts don't need.
        model.visual = torch.nn.Identity()
        return model.to(device), self._clip.tokenizer(), device


def _usual() -> dict[str, Any]:
    """The mean and deviation of models that name none. Takes torch."""
    with _quiet():
        from open_clip.transform import PreprocessCfg

        return {"mean": PreprocessCfg().mean, "std": PreprocessCfg().std}


def _tags(architecture: str) -> list[str]:
    import open_clip

    return list(open_clip.list_pretrained_tags_by_model(architecture))


def _listed(tags: list[str]) -> str:
    """The first of the names of weights, and how many more there are."""
    rest = len(tags) - _SHOWN_TAGS
    return ", ".join(tags[:_SHOWN_TAGS]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip, which logs to the root logger, from printing, and from setting that logger up."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        with hub.quiet_downloads():
            yield
    finally:
        root.removeHandler(silent)
