"""Models of the sentence-transformers library: where their files are, and how they are loaded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpve.encoders import hub
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError, EncoderNotFound

if TYPE_CHECKING:
    import torch

# Where names without an owner live on the hub.
DEFAULT_OWNER = "sentence-transformers"

# Files of a model's directory that torch does not load: texts about it, and its weights for other runtimes.
NOT_THE_MODEL = (
    *(".*", "*/.*", "*.md", "LICENSE*", "*.py", "data_config.json"),
    *("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel"),
)
# Files that name the classes of which a model is made; a router's is in a directory below.
_CLASS_LISTS = ("modules.json", "router_config.json")
_TRUSTED = "sentence_transformers."
# What a model that takes pictures has beside its weights, whatever else it takes.
_PICTURE_PROCESSORS = ("*preprocessor_config.json", "*processor_config.json")


class SentenceModel:
    """A model of sentence-transformers that is a directory, or a name on the Hugging Face hub.

    Args:
        encoder: what messages call it.
        source: the directory, or the name (`NAME` stands for `sentence-transformers/NAME`).
        offline: what works without it, for messages.

    Raises:
        EncoderNotFound: the source is a path, and there is no such directory.
    """

    def __init__(self, encoder: str, source: str, *, offline: str) -> None:
        self._encoder = encoder
        self._offline = offline
        self._path = Path(source).expanduser()
        self._repository = source if "/" in source else f"{DEFAULT_OWNER}/{source}"
        if not self._path.is_dir() and looks_like_path(source):
            raise EncoderNotFound(f"encoder {encoder!r}: no directory of a model at {self._path}; {offline}")
        self.directory = Once(self._find)

    @property
    def available(self) -> bool:
        """Whether its files are on this machine; asks no hub."""
        return self._path.is_dir() or self._cached() is not None

    @cached_property
    def space(self) -> str | None:
        """Name of the space in which it embeds pictures and texts; None of a model that takes texts only."""
        directory = self.directory()
        if not any(any(directory.rglob(pattern)) for pattern in _PICTURE_PROCESSORS):
            return None
        return "st:" + fingerprint({}, directory, ignore=NOT_THE_MODEL)

    def load(self, device: torch.device | str) -> Any:
        """The model on a device, in float32.

        Raises:
            EncoderNotFound: it is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded, or want code to be run that is not the library's own.
        """
        directory = self.directory()
        self._refuse_foreign_code(directory)
        with quiet():
            from sentence_transformers import SentenceTransformer

            try:
                model = SentenceTransformer(
                    str(directory), device=str(device), local_files_only=True, trust_remote_code=False
                )
            except Exception as error:  # a directory can hold anything, and each module reads its own files
                raise EncoderError(
                    f"encoder {self._encoder!r}: {directory} can't be loaded by sentence-transformers: "
                    f"{first_line(error)}; {self._offline}"
                ) from error
        _pad_as_trained(model[0])
        # Models are also published in half precision, which is slow on a CPU and differs between devices.
        return model.eval().float()

    def _refuse_foreign_code(self, directory: Path) -> None:
        """Refuse a model that names classes outside the library: loading it would import what its author wrote.

        Raises:
            EncoderError: it does, or what it names can't be told.
        """
        for file in (found for name in _CLASS_LISTS for found in sorted(directory.rglob(name))):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                classes = (
                    [one["type"] for one in content] if isinstance(content, list) else list(content["types"].values())
                )
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise EncoderError(
                    f"encoder {self._encoder!r}: {file}: expected JSON that names the classes of a model: "
                    f"{first_line(error)}; {self._offline}"
                ) from error
            foreign = [one for one in classes if not str(one).startswith(_TRUSTED)]
            if foreign:
                raise EncoderError(
                    f"encoder {self._encoder!r}: {file} names {str(foreign[0])!r}, which is not of "
                    "sentence-transformers: its code would be run; if you trust it, wrap the model in a class of your "
                    f"own as python:MODULE:CLASS; {self._offline}"
                )

    def _find(self) -> Path:
        if self._path.is_dir():
            return self._path
        remedy = f"give a directory as st:PATH; {self._offline}"
        return hub.fetch_model(
            self._repository, cache=_cache(), ignore=NOT_THE_MODEL, encoder=self._encoder, remedy=remedy
        )

    def _cached(self) -> Path | None:
        return hub.cached_model(self._repository, cache=_cache(), ignore=NOT_THE_MODEL)


def _cache() -> str | None:
    # sentence-transformers' own setting, so that what it has fetched is found.
    return os.environ.get("SENTENCE_TRANSFORMERS_HOME")


def looks_like_path(source: str) -> bool:
    """Whether a source that is no directory was meant to be one, and not a name on the hub."""
    # A name on the hub is NAME or OWNER/NAME.
    return not source or source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).is_file()


def _pad_as_trained(module: Any) -> None:
    """Have SigLIP's texts padded to its full length: it looks at the last place, whatever is there."""
    config = getattr(module, "config", None)
    if config is not None and str(getattr(config, "model_type", "")).startswith("siglip"):
        padding = {"padding": "max_length", "max_length": config.text_config.max_position_embeddings}
        said = getattr(module, "processing_kwargs", None) or {}
        module.processing_kwargs = {**said, "text": {**padding, **said.get("text", {})}}


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the progress bars and the remarks with which transformers loads a model."""
    from transformers.utils import logging as remarks

    bars, verbosity = remarks.is_progress_bar_enabled(), remarks.get_verbosity()
    remarks.set_verbosity(logging.ERROR)
    with hub.quiet_downloads():
        if bars:
            remarks.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            remarks.set_verbosity(verbosity)
            if bars:
                remarks.enable_progress_bar()  # type: ignore[no-untyped-call]
