"""Causal language models of transformers: where their files are, and how they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpve.encoders import hub
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.sentence_model import NOT_THE_MODEL, looks_like_path, quiet
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError, EncoderNotFound

if TYPE_CHECKING:
    import torch

# Besides what no model of transformers needs: weights for llama.cpp, and those of the authors' own program.
_NOT_LOADED = (*NOT_THE_MODEL, "*.gguf", "original/*")
_CONFIG = "config.json"


class CausalModel:
    """A causal language model that is a directory, or a name on the Hugging Face hub.

    Args:
        name: what messages call it, family and all: `lm:NAME`.
        source: the directory, or the name.
        remedy: what to do where it is not there, for messages.

    Raises:
        EncoderNotFound: the source is a path, and there is no such directory, or it holds no model.
    """

    def __init__(self, name: str, source: str, *, remedy: str) -> None:
        self._name = name
        self._source = source
        self._remedy = remedy
        self._path = Path(source).expanduser()
        if not self._path.is_dir() and looks_like_path(source):
            raise EncoderNotFound(f"encoder {name!r}: no directory of a model at {self._path}; {remedy}")
        if self._path.is_dir() and not (self._path / _CONFIG).is_file():
            raise EncoderNotFound(
                f"encoder {name!r}: no {_CONFIG} in {self._path}: expected a directory as transformers saves a model; "
                f"{remedy}"
            )
        self.directory = Once(self._find)
        self.tokenizer = Once(self._load_tokenizer)

    @property
    def available(self) -> bool:
        """Whether its files are on this machine; asks no hub."""
        return self._path.is_dir() or hub.cached_model(self._source, cache=None, ignore=_NOT_LOADED) is not None

    def fingerprint(self, settings: dict[str, Any]) -> str:
        """Digest of these settings and the model's files. Needs no torch, but fetches a model that is not here yet."""
        directory = self.directory()
        # Where there are both, .safetensors are loaded, and the others need not be here.
        twice = ("*.bin",) if any(directory.glob("*.safetensors")) else ()
        return fingerprint(settings, directory, ignore=(*_NOT_LOADED, *twice))

    def load(self, device: torch.device | str) -> Any:
        """The model on a device, in float32, with its head.

        Raises:
            EncoderNotFound: it is not on this machine and can't be fetched.
            EncoderError: its files can't be loaded, lack weights, or want code to be run that is not transformers' own.
        """
        directory = self.directory()
        with quiet():
            import torch
            from transformers import AutoModelForCausalLM

            try:
                # Weights in .bin files are read as tensors only: transformers has torch unpickle nothing else.
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    str(directory),
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                model, found = loaded
                missing = sorted(found["missing_keys"])
                if not missing:
                    return model.to(device).eval().requires_grad_(requires_grad=False)
            except Exception as error:  # a directory can hold anything, and each architecture reads its own files
                raise self._unloadable(first_line(error)) from error
        # They would be random, and others each time.
        raise self._unloadable(f"of its weights {len(missing)} are missing, such as {missing[0]!r}")

    def context(self) -> int | None:
        """How many tokens it reads and writes at most, as its configuration has it; None where that says nothing.

        Raises:
            EncoderNotFound: it is not on this machine and can't be fetched.
            EncoderError: its configuration can't be read.
        """
        from transformers import AutoConfig

        directory = self.directory()
        try:
            config = AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
            found = getattr(config.get_text_config(), "max_position_embeddings", None)
        except Exception as error:  # as in `load`
            raise self._unloadable(first_line(error)) from error
        return int(found) if found else None

    def _load_tokenizer(self) -> Any:
        directory = self.directory()
        with quiet():
            from transformers import AutoTokenizer

            try:
                return AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
            except Exception as error:  # as in `load`
                raise self._unloadable(f"its tokenizer: {first_line(error)}") from error

    def _find(self) -> Path:
        if self._path.is_dir():
            return self._path
        return hub.fetch_model(self._source, cache=None, ignore=_NOT_LOADED, encoder=self._name, remedy=self._remedy)

    def _unloadable(self, why: str) -> EncoderError:
        return EncoderError(
            f"encoder {self._name!r}: {self.directory()} can't be loaded by transformers as a causal language model: "
            f"{why}; {self._remedy}"
        )
