"""Writing a first job file for a folder of pictures, from what the folder holds."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pyarrow as pa

from fpve.config import load_job
from fpve.errors import JobError, MetadataError
from fpve.sources.folder import scan_folder
from fpve.sources.metadata import Metadata, match, read_metadata
from fpve.store.files import write_durably

_METADATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")
# Of a folder's name so much becomes the collection's.
_NAME_LENGTH = 60
# Columns that hold a text about the picture, in other people's files, best first.
_CAPTION_NAMES = ("caption", "text", "description", "title", "name")


def init(folder: str | os.PathLike[str], *, output: str | os.PathLike[str] | None = None) -> Path:
    """Write a commented job file for a folder of pictures; returns its path.

    A metadata file in the folder whose paths are those of its pictures is taken up, and a column of captions becomes
    the prefix.

    Raises:
        SourceError: the folder is missing, or holds no picture.
        JobError: the output exists already.
    """
    folder = Path(folder)
    files = scan_folder(folder, collection="x").files
    name = re.sub(r"[^\w.\-]+", "-", folder.resolve().name).strip("-._")[:_NAME_LENGTH] or "pictures"
    target = Path(output) if output is not None else Path(f"{name}.toml")
    if target.exists():
        raise JobError(f"{target}: exists already; choose another --output")
    if not target.parent.is_dir():
        raise JobError(f"{target}: there is no folder {target.parent}")
    metadata = _find_metadata(folder, files["path"].combine_chunks())
    nested = any("/" in path for path in files["path"].slice(0, 1000).to_pylist())
    text = _job_text(name, _relative(folder, target), metadata, target, pictures=len(files), nested=nested)
    write_durably(target, lambda out: out.write_text(text, encoding="utf-8"))
    load_job(target)
    return target


def _find_metadata(folder: Path, paths: pa.Array) -> Metadata | None:
    """The first metadata file in the folder that names its pictures."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in _METADATA_SUFFIXES and file.is_file():
            try:
                metadata = read_metadata(file)
                match(metadata, paths, folder)
            except MetadataError:
                continue
            return metadata
    return None


def _relative(path: Path, target: Path) -> str:
    """A path as the job file at `target` would name it: relative where that is short."""
    base = target.resolve().parent
    return (
        Path(os.path.relpath(path.resolve(), base)).as_posix()
        if path.resolve().is_relative_to(base)
        else str(path.resolve())
    )


def _job_text(
    name: str,
    source: str,
    metadata: Metadata | None,
    target: Path,
    *,
    pictures: int,
    nested: bool,
) -> str:
    columns = metadata.columns.column_names if metadata else []
    texts = [column for column in columns if pa.types.is_string(metadata.columns[column].type)] if metadata else []
    caption = next((column for wanted in _CAPTION_NAMES for column in texts if column.casefold() == wanted), None)
    lines = [
        f"# {pictures} pictures. Run it with:  fpve run {target.name}",
        "# Relative paths are taken from this file's folder. `fpve check` says what a run would do.",
        "",
        f"store = {_string(f'indexes/{name}')}",
        "",
        "[encoders]",
        'image = "efficientnet-lite0"    # packaged; others: torchvision:resnet18',
        'text = "minilm"                 # packaged; others: st:NAME-OR-PATH, none',
        "",
        "[fusion]",
        'mode = "balanced"',
        "image_weight = 0.5              # default weight of the picture in queries: 1 picture only, 0 text only",
        "",
        "[limits]",
        "max_removed = 0.2               # a run that would remove more of a collection publishes nothing",
        "max_quarantine = 0.01           # nor does one that finds more of its pictures broken",
        "",
        "[[collections]]",
        f"name = {_string(name)}",
        f"source = {_string(source)}",
    ]
    if metadata is not None:
        shown = ", ".join(columns) or "no other column"
        lines.append(f"metadata = {_string(_relative(metadata.file, target))}    # columns: {_comment(shown)}")
    else:
        lines.append('# metadata = "metadata.csv"     # a table with a column `path` and one row a picture')
    if caption is not None:
        lines.append(f"prefix = {_string('{' + caption + '}')}            # the text that is frozen with each picture")
    else:
        example = "a photo of a {folder}" if nested else "a photo of {stem}"
        lines.append(f"# prefix = {_string(example)}    # fields: metadata columns, folder, stem, path, collection")
    if nested and "label" not in columns:
        lines.append('# label_from = "folder"         # a column `label` from the name of each picture\'s folder')
    return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return re.sub(r"\s+", " ", text)
