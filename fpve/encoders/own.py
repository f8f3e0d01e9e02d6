"""Encoders of the user's own: `python:MODULE:CLASS`, for pictures and for texts."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fpve import images
from fpve.encoders.fingerprint import fingerprint
from fpve.encoders.once import Once
from fpve.encoders.weights import first_line
from fpve.errors import EncoderError, EncoderNotFound, ImageError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image

    from fpve.config import EncoderConfig
    from fpve.encoders.protocol import Floats

# Of a class that names none: a compromise between what suits a CPU and what suits a GPU.
DEFAULT_BATCH = 32
# Options that the class is given where a job sets them; the batch size is applied here.
PASSED = ("weights", "resize", "pooling", "precision", "device")
# The device is the machine's business, and of weights their content counts.
_NOT_TELLING = ("weights", "device")
# Batches of other sizes are summed in another order; what differs by more depends on something else than its input.
SAME_ROW = 0.9999
GUIDE = "docs/encoders.md has a template"


class OwnEncoder:
    """What both kinds of classes share: finding and making one, its fingerprint, and checking what it gives back.

    Args:
        config: with the options in PASSED, batch_size, and path: a folder in which the module is looked for as well.
        argument: `MODULE:CLASS`.

    Raises:
        EncoderNotFound: there is no such module, class or file of weights.
        EncoderError: the class lacks a method or `dim`, or does not take an option.
    """

    METHODS: tuple[str, ...] = ()
    WHAT = ""

    def __init__(self, config: EncoderConfig, argument: str) -> None:
        self.name = config.name
        module, _, attribute = argument.partition(":")
        if not module or not attribute:
            raise EncoderNotFound(f"encoder {self.name!r}: expected python:MODULE:CLASS; {GUIDE}")
        self._argument = argument
        self._weights = config.weights
        if self._weights is not None and not self._weights.exists():
            raise EncoderNotFound(f"encoder {self.name!r}: no file or folder of weights at {self._weights}")
        self._options = {name: value for name in PASSED if (value := getattr(config, name)) is not None}
        self._batch_size = config.batch_size
        self._class = _find_class(self.name, module, attribute, config.path)
        self._model = self._make()
        self._encoding = threading.Lock()
        self._is_checked = False

    @property
    def available(self) -> bool:
        """Whether its weights are on this machine: the class's own `available`, or yes."""
        return bool(self._asked("available", True))

    @property
    def space(self) -> str | None:
        """The class's own `space`, if it has one."""
        space = self._asked("space", None)
        return None if space is None else str(space)

    @property
    def batch_size(self) -> int:
        """How many inputs one call gets: the job's number, the class's own `batch_size`, or 32."""
        if self._batch_size is not None:
            return self._batch_size
        own = self._asked("batch_size", None)
        return DEFAULT_BATCH if own is None else self._whole("batch_size", own)

    @property
    def dim(self) -> int:
        """Length of an encoded row, as the class says it."""
        return self._whole("dim", self._asked("dim", None))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the name, the class's `version` or else its file, the options, and the file of weights."""
        version = self._asked("version", None)
        source = None if version is not None else inspect.getsourcefile(self._class)
        telling = {name: str(value) for name, value in self._options.items() if name not in _NOT_TELLING}
        settings: dict[str, Any] = {"architecture": f"python:{self._argument}", "dim": self.dim, **telling}
        settings |= self._shared_settings()
        if version is not None:
            settings["version"] = str(version)
        elif source is not None:
            settings["source"] = fingerprint({}, Path(source))
        else:
            raise self._error("expected a `version`, for there is no file of its source code that could stand for it")
        return fingerprint(settings, self._weights)

    def _shared_settings(self) -> dict[str, Any]:
        """What decides the output besides the class."""
        return {}

    def _make(self) -> Any:
        """An instance, given the options that are set."""
        missing = [name for name in self.METHODS if not callable(getattr(self._class, name, None))]
        if missing:
            raise self._error(f"has no method {missing[0]!r}; {self.WHAT}")
        try:
            parameters = dict(inspect.signature(self._class).parameters)
        except ValueError:
            parameters = {}
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        for option in self._options:
            if option not in parameters and not takes_all:
                raise self._error(
                    f"takes no option {option!r}: leave it out, or give __init__ a parameter of that name"
                )
        try:
            made = self._class(**self._options)
        except EncoderError:
            raise
        except (Exception, SystemExit) as error:  # it is somebody else's code
            raise self._error(f"can't be made: {_described(error)}") from error
        # Not by asking for it: a property may load the model.
        if inspect.getattr_static(made, "dim", None) is None:
            raise self._error(f"has no `dim`; {self.WHAT}")
        return made

    def _encode(self, inputs: Any) -> Floats:
        """Rows (n, dim) float32 of n > 0 inputs; the first call is made twice, to see that it says the same twice."""
        with self._encoding:
            rows = self._rows(inputs)
            if not self._is_checked:
                self._check_sameness(rows[0], self._rows(inputs[:1])[0])
                self._is_checked = True
        return rows

    def _rows(self, inputs: Any) -> Floats:
        try:
            found = np.asarray(self._model.encode(inputs))
        except EncoderError:
            raise
        except (Exception, SystemExit) as error:  # it is somebody else's code
            raise self._error(f"encode raised {_described(error)}") from error
        expected = (len(inputs), self.dim)
        if found.shape != expected or found.dtype.kind not in "fiu":
            raise self._error(f"encode should give numbers of shape {expected}, gave {found.shape} of {found.dtype}")
        return np.ascontiguousarray(found, np.float32)

    def _check_sameness(self, row: Floats, again: Floats) -> None:
        if not np.isfinite(row).all() or not row.any():
            return
        cosine = float(row @ again / max(float(np.linalg.norm(row) * np.linalg.norm(again)), 1e-30))
        if not cosine >= SAME_ROW:
            raise self._error(
                f"encoded one input twice, in a batch and alone, to rows of cosine {cosine:.4f}: a row may depend on "
                "its input only; switch off dropout (`model.eval()`), padding and what is random"
            )

    def _asked(self, member: str, default: Any) -> Any:
        """What the class says of itself; a property of it can do anything."""
        try:
            return getattr(self._model, member, default)
        except EncoderError:
            raise
        except (Exception, SystemExit) as error:  # it is somebody else's code
            raise self._error(f"{member} raised {_described(error)}") from error

    def _whole(self, member: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise self._error(f"expected `{member}` to be a whole number of at least 1, found {value!r}")
        return int(value)

    def _error(self, text: str) -> EncoderError:
        return EncoderError(f"encoder {self.name!r}: {text}")


class OwnImageEncoder(OwnEncoder):
    """A class that encodes pictures: `dim`, `prepare(image)` and `encode(batch)`."""

    METHODS = ("prepare", "encode")
    WHAT = f"a class for pictures has dim, prepare(image) and encode(batch): {GUIDE}"

    def __init__(self, config: EncoderConfig, argument: str) -> None:
        super().__init__(config, argument)
        # One picture tells what all must look like.
        self._form = Once(lambda: self._prepared(_grey()))

    @property
    def side(self) -> int:
        """Pixels a side that `prepare` needs: the class's own `side`, or the longest axis of what it makes."""
        own = self._asked("side", None)
        return max(self._form().shape, default=1) if own is None else self._whole("side", own)

    @property
    def concurrency(self) -> int:
        """How many calls of `encode` at once pay: one, for nobody said that the class can take more."""
        return 1

    def prepare(self, image: Image) -> NDArray[Any]:
        """Turn an RGB picture into the class's input. Called from many threads.

        Raises:
            ImageError: the class raised something: this picture can't be encoded.
            EncoderError: it did not make an array, or one unlike those of other pictures.
        """
        expected, made = self._form(), self._prepared(image)
        if (made.shape, made.dtype) != (expected.shape, expected.dtype):
            raise self._error(
                f"prepare should give arrays of one shape and dtype, gave {expected.shape} {expected.dtype} of one "
                f"picture and {made.shape} {made.dtype} of another"
            )
        return made

    def encode(self, batch: NDArray[Any]) -> Floats:
        """Encode prepared pictures (n, …) into features (n, dim) float32.

        Raises:
            EncoderError: the class raised something, or gave something else, or does not say the same twice.
        """
        if not len(batch):
            return np.empty((0, self.dim), np.float32)
        form = self._form()
        if (batch.shape[1:], batch.dtype) != (form.shape, form.dtype):
            raise self._error(
                f"expected pictures of shape {('n', *form.shape)} and {form.dtype} as `prepare` makes them, found "
                f"{batch.shape} and {batch.dtype}"
            )
        step = self.batch_size
        return np.concatenate([self._encode(batch[at : at + step]) for at in range(0, len(batch), step)])

    def _shared_settings(self) -> dict[str, Any]:
        return {"decoding": images.DECODING, "side": self.side}

    def _prepared(self, image: Image) -> NDArray[Any]:
        try:
            made = self._model.prepare(image)
        except (EncoderError, ImageError):
            raise
        except SystemExit as error:
            # Not this picture's fault.
            raise self._error(f"prepare raised {_described(error)}") from error
        except Exception as error:  # it is somebody else's code
            raise ImageError(f"encoder {self.name!r}: prepare raised {_described(error)}") from error
        if not isinstance(made, np.ndarray) or made.dtype.hasobject:
            raise self._error(f"prepare should give a NumPy array of numbers, gave {_kind(made)}")
        return made


class OwnTextEncoder(OwnEncoder):
    """A class that encodes texts: `dim` and `encode(texts)`."""

    METHODS = ("encode",)
    WHAT = f"a class for texts has dim and encode(texts): {GUIDE}"

    def encode(self, texts: Sequence[str]) -> Floats:
        """Encode n texts into embeddings (n, dim) float32.

        Raises:
            EncoderError: the class raised something, or gave something else, or does not say the same twice.
        """
        texts, step = list(texts), self.batch_size
        if not texts:
            return np.empty((0, self.dim), np.float32)
        rows = np.concatenate([self._encode(texts[at : at + step]) for at in range(0, len(texts), step)])
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise self._error(f"encode should give finite numbers, gave NaN or infinity for {texts[bad[0]]!r}")
        return rows


def _find_class(name: str, module: str, attribute: str, folder: Path | None) -> type:
    """Import a class: from Python's path, and from `folder`, which is put at its end if the module is there.

    Raises:
        EncoderNotFound: there is no such module, or no such class in it.
        EncoderError: it can't be imported.
    """
    top = module.partition(".")[0]
    here = folder is not None and ((folder / f"{top}.py").is_file() or (folder / top).is_dir())
    if here and str(folder) not in sys.path:
        # At the end, so that nothing that is installed is shadowed; to stay, for what the class imports later.
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise EncoderError(f"encoder {name!r}: {module} imports {error.name!r}, which is not installed") from error
        beside = f"in {folder} or " if folder is not None else ""
        raise EncoderNotFound(
            f"encoder {name!r}: no module {module!r} {beside}on Python's path; install it, or name its folder with "
            "PYTHONPATH=FOLDER"
        ) from None
    except (Exception, SystemExit) as error:  # it is somebody else's code
        raise EncoderError(f"encoder {name!r}: {module} can't be imported: {_described(error)}") from error
    origin = getattr(imported, "__file__", None)
    if here and folder is not None and origin and not Path(origin).resolve().is_relative_to(folder.resolve()):
        raise EncoderError(f"encoder {name!r}: {module!r} in {folder} is hidden by {origin}: give it another name")
    found = getattr(imported, attribute, None)
    if not isinstance(found, type):
        classes = [one for one, value in vars(imported).items() if isinstance(value, type)]
        raise EncoderNotFound(f"encoder {name!r}: no class {attribute!r} in {module}{nearest(attribute, classes)}")
    return found


def _grey() -> Image:
    from PIL import Image

    # Of an odd size, and not square: what `prepare` makes must not depend on that.
    return Image.new("RGB", (97, 61), (128, 128, 128))


def _described(error: BaseException) -> str:
    kind, said = type(error).__name__, first_line(error)
    return kind if said == kind else f"{kind}: {said}"


def _kind(made: object) -> str:
    return "an array of objects" if isinstance(made, np.ndarray) else f"a {type(made).__name__}"
