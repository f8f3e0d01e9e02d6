"""A collection's source, whatever it is: a folder of pictures, a table, archives."""

from __future__ import annotations

from fpve.config import CollectionConfig
from fpve.errors import JobError, SourceError
from fpve.sources.folder import find_files, scan_found
from fpve.sources.metadata import TABLE_SUFFIXES
from fpve.sources.scan import Globs, Scan
from fpve.sources.table import TableOptions, scan_table


def scan_source(config: CollectionConfig) -> Scan:
    """Find the pictures of a collection's source without opening one.

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
    if source.is_file():
        raise SourceError(
            f"{source}: expected a folder of pictures, a .tar archive or a table ({', '.join(TABLE_SUFFIXES)}), "
            "found a file"
        )
    return scan_found(source, find_files(source, globs), collection=config.name, globs=globs)


def _is_table(config: CollectionConfig) -> bool:
    return config.source.suffix.lower() in TABLE_SUFFIXES and not config.source.is_dir()


def _check_table(config: CollectionConfig) -> None:
    if config.metadata is not None:
        raise JobError(
            f"collection {config.name!r}: {config.source} is a table, whose own columns are the metadata; leave "
            "metadata out, or join the two files"
        )
