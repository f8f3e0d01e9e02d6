"""A collection's source, whatever it is: a folder of pictures."""

from __future__ import annotations

from fpve.config import CollectionConfig
from fpve.sources.folder import scan_folder
from fpve.sources.scan import Scan


def scan_source(config: CollectionConfig) -> Scan:
    """Find the pictures of a collection's source without opening one.

    Raises:
        SourceError: the source is not there, can't be read, or holds no picture.
    """
    return scan_folder(config.source, collection=config.name, include=config.include, exclude=config.exclude)
