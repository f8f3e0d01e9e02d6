"""Writing a first job file for a folder, a table or archives, from what they hold."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from fpve.config import CollectionConfig, load_job
from fpve.errors import JobError, MetadataError, SourceError
from fpve.sources.metadata import TABLE_SUFFIXES, Metadata, match, read_metadata
from fpve.sources.places import files_in, is_file, is_folder
from fpve.sources.scan import Scan
from fpve.sources.source import scan_source
from fpve.store.files import write_durably
from fpve.store.schema import is_free, type_name
from fpve.urls import BucketPath, any_path

# Of a folder's name so much becomes the collection's.
_NAME_LENGTH = 60
# Columns that hold a text about the picture, in other people's files, best first.
_CAPTION_NAMES = ("caption", "txt", "text", "description", "title", "name")


def init(source: str | os.PathLike[str], *, output: str | os.PathLike[str] | None = None) -> Path:
    """Write a commented job file for a folder of pictures, a table or archives; returns its path.

    A metadata file in the folder whose paths are those of its pictures is taken up, and a column of captions becomes
    the prefix.

    Raises:
        SourceError: the source is missing, or holds no picture.
        MetadataError: it is a table that is broken, or that has no column of paths or pictures.
        JobError: the output exists already.
    """
    source = any_path(source)
    scan, by_row = _scan(source)
    whole = source.resolve() if is_file(source) or is_folder(source) else scan.folder.resolve()
    stem = whole.name if is_folder(whole) else whole.stem
    name = re.sub(r"[^\w.\-]+", "-", stem).strip("-._")[:_NAME_LENGTH] or "pictures"
    target = Path(output) if output is not None else Path(f"{name}.toml")
    if target.exists():
        raise JobError(f"{target}: exists already; choose another --output")
    if not target.parent.is_dir():
        raise JobError(f"{target}: there is no folder {target.parent}")
    text = _job_text(name, source, scan, target, by_row=by_row)
    write_durably(target, lambda out: out.write_text(text, encoding="utf-8"))
    load_job(target)
    return target


def _scan(source: Path) -> tuple[Scan, bool]:
    """What a source holds, and whether its rows must be told apart by their numbers."""
    config = CollectionConfig(name="x", source=source)
    try:
        return scan_source(config), False
    except (SourceError, MetadataError):
        try:
            return scan_source(replace(config, id="{row}")), True
        except (SourceError, MetadataError):
            # The first error is the one to be told.
            pass
        raise


def _find_metadata(folder: Path, paths: pa.Array) -> Metadata | None:
    """The first metadata file in the folder that names its pictures."""
    for file in sorted(files_in(folder)):
        if file.suffix.lower() in TABLE_SUFFIXES:
            try:
                metadata = read_metadata(file)
                match(metadata, paths, folder)
            except MetadataError:
                continue
            return metadata
    return None


def _relative(path: Path, target: Path) -> str:
    """A path as the job file at `target` would name it: relative where that is short."""
    if isinstance(path, BucketPath):
        return str(path)
    base = target.resolve().parent
    return (
        Path(os.path.relpath(path.resolve(), base)).as_posix()
        if path.resolve().is_relative_to(base)
        else str(path.resolve())
    )


def _job_text(name: str, source: Path, scan: Scan, target: Path, *, by_row: bool) -> str:
    beside = is_folder(source)
    metadata = scan.metadata or (_find_metadata(source, scan.files["path"].combine_chunks()) if beside else None)
    held = (
        [one.name for one in metadata.columns.schema if type_name(one.type) and is_free(one.name)] if metadata else []
    )
    texts = [column for column in held if metadata and pa.types.is_string(metadata.columns[column].type)]
    nested = any("/" in path for path in scan.files["inside"].slice(0, 1000).to_pylist())
    lines = [
        f"# {len(scan.files)} pictures. Run it with:  fpve run {target.name}",
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
        "# [index]",
        "# target_recall = 0.98          # of true hits that ANN indexes are built to find; 1 is exact",
        "",
        "[[collections]]",
        f"name = {_string(name)}",
        f"source = {_string(_relative(source, target))}",
    ]
    if by_row:
        lines.append(
            'id = "{row}"                    # its pictures have no names that differ; better: a column that does'
        )
    elif metadata is not None:
        lines.append('# id = "{column}"               # what images are called, if not by their paths')
    lines += _metadata_lines(scan, metadata, held, target)
    caption = next((column for wanted in _CAPTION_NAMES for column in texts if column.casefold() == wanted), None)
    if caption is not None:
        lines.append(f"prefix = {_string('{' + caption + '}')}            # the text that is frozen with each picture")
    else:
        example = "a photo of a {folder}" if nested else "a photo of {stem}"
        lines.append(f"# prefix = {_string(example)}    # fields: metadata columns, folder, stem, path, collection")
    if nested and "label" not in held:
        lines.append('# label_from = "folder"         # a column `label` from the name of each picture\'s folder')
    lines += [
        "",
        "# [[predict]]",
        '# label = "category"            # a column that every run predicts for images without a value in it',
    ]
    return "\n".join(lines) + "\n"


def _metadata_lines(scan: Scan, metadata: Metadata | None, held: list[str], target: Path) -> list[str]:
    """What the job says of its metadata."""
    if metadata is None:
        return ['# metadata = "metadata.csv"     # a table with a column `path` and one row a picture']
    shown = _comment(", ".join(held) or "no other column")
    if metadata is not scan.metadata:
        return [f"metadata = {_string(_relative(metadata.file, target))}    # columns: {shown}"]
    names = ", ".join(map(_string, held))
    if held and not scan.sidecars and len(held) < len(metadata.columns.column_names):
        return [f"columns = [{names}]    # the others can't be held, or are called as a store's own"]
    return [f"# columns = [{names}]    # the metadata; without the line all of it" if held else "# no other columns"]


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return re.sub(r"\s+", " ", text)
