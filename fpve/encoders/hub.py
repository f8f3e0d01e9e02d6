"""The Hugging Face hub: whole models and single files, from its cache or, with a limit to the waiting, fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fpve.encoders.weights import first_line
from fpve.errors import EncoderNotFound

HUB_TIMEOUT_SECONDS = 10


def cached_model(repository: str, *, cache: str | None, ignore: Sequence[str]) -> Path | None:
    """Directory of a model in the hub's cache, if its weights are there; asks no hub."""
    try:
        found = _snapshot(repository, cache, ignore, local=True)
    except (OSError, ValueError):
        return None
    # A snapshot can hold no more than the one file that something asked for.
    return found if any(any(found.rglob(pattern)) for pattern in ("*.safetensors", "*.bin")) else None


def fetch_model(repository: str, *, cache: str | None, ignore: Sequence[str], encoder: str, remedy: str) -> Path:
    """Directory of a model in the hub's cache, where it is put if it is not there.

    Raises:
        EncoderNotFound: it is not there and can't be fetched.
    """
    cached = cached_model(repository, cache=cache, ignore=ignore)
    if cached is not None:
        return cached
    with _reachable(repository, encoder, remedy):
        return _snapshot(repository, cache, ignore, local=False)


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """The first of these files that the hub's cache holds; asks no hub."""
    from huggingface_hub import try_to_load_from_cache

    identifier, revision = _split(repository)
    for name in names:
        found = try_to_load_from_cache(identifier, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch_file(repository: str, names: Sequence[str], *, encoder: str, remedy: str) -> Path:
    """The first of these files that a repository has, in the hub's cache, where it is put if it is not there.

    Raises:
        EncoderNotFound: none is there or can be fetched.
    """
    from huggingface_hub import hf_hub_download

    cached = cached_file(repository, names)
    if cached is not None:
        return cached
    identifier, revision = _split(repository)
    with _reachable(repository, encoder, remedy) as there:
        name = next((name for name in names if name in there), None)
        if name is None:
            raise FileNotFoundError(f"expected one of the files {', '.join(names)}")
        return Path(hf_hub_download(identifier, name, revision=revision))


def _split(repository: str) -> tuple[str, str | None]:
    """The name of a repository, and the revision after its `@`."""
    identifier, _, revision = repository.partition("@")
    return identifier, revision or None


def _snapshot(repository: str, cache: str | None, ignore: Sequence[str], *, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, cache_dir=cache, ignore_patterns=list(ignore), local_files_only=local))


@contextmanager
def _reachable(repository: str, encoder: str, remedy: str) -> Iterator[set[str]]:
    """Ask the hub which files a repository has, and download in silence.

    Raises:
        EncoderNotFound: the hub or the repository is out of reach, or the download breaks off.
    """
    from huggingface_hub import HfApi

    identifier, revision = _split(repository)
    try:
        # Asked first because the download itself has no time limit for connecting, and would hang without a network.
        info = HfApi().model_info(identifier, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
        with quiet_downloads():
            yield {one.rfilename for one in info.siblings or ()}
    except Exception as error:  # the client lets through its HTTP library's, which is another one in each version
        raise EncoderNotFound(
            f"encoder {encoder!r}: {identifier} is not on this machine and can't be fetched from the Hugging Face hub "
            f"({first_line(error)}); {remedy}"
        ) from error


@contextmanager
def quiet_downloads() -> Iterator[None]:
    """Leave out the hub's progress bars."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
