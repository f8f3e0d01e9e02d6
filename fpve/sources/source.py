"""A collection's source, whatever it is: a folder of pictures, a table, archives."""

from __future__ import annotations

from fpve.config import CollectionConfig
from fpve.errors import JobError
from fpve.sources.archives import (
    Remembered,
    archives_below,
    is_archive,
    named_archives,
    remember_nothing,
    scan_archives,
)
from fpve.sources.folder import find_files, no_source, scan_found
from fpve.sources.metadata import TABLE_SUFFIXES
from fpve.sources.places import is_folder
from fpve.sources.scan import Globs, Scan
from fpve.sources.table import TableOptions, scan_table
from fpve.urls import BucketPath


def scan_source(config: CollectionConfig, *, remembered: Remembered = remember_nothing) -> Scan:
    """Find the pictures of a collection's source without opening one.

    Args:
        config: the collection.
        remembered: what is known of archives.

    Raises:
        SourceError: the source is not there, can't be read, or holds no picture.
        MetadataError: it is a table that is broken, or that has no column of paths or pictures.
        JobError: a key of the job has no meaning for a source of this kind.
    """
    source, globs = config.source, Globs.of(config.include, config.exclude)
    if _is_table(config):
        _check_table(config)
        options = TableOptions(config.name, config.source_key, config.columns, globs, named=config.id is not None)
        return scan_table(source, options)
    if config.source_key is not None:
        raise JobError(
            f"collection {config.name!r}: source_key names a column of a table, and {source} is none "
            f"({', '.join(TABLE_SUFFIXES)}); leave it out"
        )
    if not isinstance(source, BucketPath) and source.is_dir():
        return _scan_folder(config, globs, remembered)
    if is_archive(source):
        base, archives = named_archives(source)
        return scan_archives(source, base, archives, collection=config.name, globs=globs, remembered=remembered)
    # Of a folder in a store, which most are, the listing tells.
    if not isinstance(source, BucketPath) and source.is_file():
        raise no_source(source)
    return _scan_folder(config, globs, remembered)


def _scan_folder(config: CollectionConfig, globs: Globs, remembered: Remembered) -> Scan:
    """Its pictures, or if there are none those in its archives."""
    source = config.source
    found = find_files(source, globs)
    archives = [] if len(found.raw_path) or found.odd else archives_below(source, globs)
    if not archives:
        return scan_found(source, found, collection=config.name, globs=globs)
    return scan_archives(source, source, archives, collection=config.name, globs=globs, remembered=remembered)


def _is_table(config: CollectionConfig) -> bool:
    return config.source.suffix.lower() in TABLE_SUFFIXES and not is_folder(config.source)


def _check_table(config: CollectionConfig) -> None:
    if config.metadata is not None:
        raise JobError(
            f"collection {config.name!r}: {config.source} is a table, whose own columns are the metadata; leave "
            "metadata out, or join the two files"
        )
