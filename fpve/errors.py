"""Every exception that fpve raises on purpose.

The text of each says what was expected, what was found and what to do, in one line.

    FpveError
    ├── JobError (ValueError)               a job file, or a key in it, is wrong
    ├── SourceError (ValueError)            a source holds nothing that can be encoded
    │   └── SourceNotFound (FileNotFoundError)
    ├── MetadataError (ValueError)          a metadata file can't be read, matched or typed
    ├── PrefixError (ValueError)            a prefix template can't be filled in
    ├── GenerationError                     a language model gave no usable text
    ├── AlignmentError (ValueError)         too little is captioned to learn prefixes of pictures from
    ├── ImageError (ValueError)             these bytes are no picture that can be encoded
    ├── EncoderError
    │   ├── EncoderNotFound (LookupError)   no such encoder, or its weights are not here
    │   └── EncoderMismatch (ValueError)    the store's vectors come from another encoder
    ├── StoreError
    │   ├── StoreNotFound (FileNotFoundError)
    │   │   └── SnapshotPruned              there are newer ones: refresh, or open the store again
    │   ├── StoreCorrupt (ValueError)       a file of the store is not what the manifest says
    │   ├── StoreVersion                    the store was written by another version of fpve
    │   ├── StoreLocked (BlockingIOError)   another writer holds the store
    │   │   └── SnapshotTaken               another writer published a snapshot of that number first
    │   └── StoreConflict (ValueError)      the job and the store contradict each other
    ├── BucketError (OSError)               an object store can't be asked, or refuses
    ├── GuardError                          publishing would lose more than the job's limits allow
    ├── ClusterError                        there is no Ray to work on, or its workers can't do the work
    ├── ServeError (ValueError)             a store can't be served so: the address, or what clients have to know
    ├── ServerBusy                          a server has too much to do to answer now
    └── QueryError (ValueError)             a search, a filter or an SQL statement is wrong
        └── ImageNotFound (LookupError)     no image of that id in the store
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fpve.origins import in_words


class FpveError(Exception):
    """Anything that fpve refuses to do, with the reason and the remedy in one line.

    A store in a bucket is called by its URL, and not by the directory that this machine has of it.
    """

    def __init__(self, *args: object) -> None:
        # Now: another process, which may be told, has its replicas in another folder.
        super().__init__(*(in_words(one) if isinstance(one, str) else one for one in args))


class JobError(FpveError, ValueError):
    """A job file, or a key in it, is wrong."""


class SourceError(FpveError, ValueError):
    """A source holds nothing that can be encoded."""


class SourceNotFound(SourceError, FileNotFoundError):
    """A source is not there: a missing folder, or a disk that is not mounted."""


class MetadataError(FpveError, ValueError):
    """A metadata file can't be read, matched with the images, or typed."""


class PrefixError(FpveError, ValueError):
    """A prefix template can't be filled in."""


class GenerationError(FpveError):
    """A language model gave no usable text: out of reach, refusing, or answering garbage.

    Attributes:
        is_general: whether asking again with another prompt is useless, for the model is out of reach, unknown, or
            refuses the key; False where this one prompt failed.
    """

    def __init__(self, *args: object, is_general: bool = False) -> None:
        super().__init__(*args)
        self.is_general = is_general


class AlignmentError(FpveError, ValueError):
    """Too little is captioned to learn from it what pictures would be captioned."""


class ImageError(FpveError, ValueError):
    """These bytes are no picture that can be encoded."""


class EncoderError(FpveError):
    """An encoder can't be used."""


class EncoderNotFound(EncoderError, LookupError):
    """There is no such encoder, or its weights are not on this machine."""


class EncoderMismatch(EncoderError, ValueError):
    """The store's vectors come from another encoder than the one that is asked for."""


class StoreError(FpveError):
    """A store can't be read or written."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store, or no such snapshot, at this path."""


class SnapshotPruned(StoreNotFound):
    """A snapshot was pruned, perhaps while it was open: there are newer ones."""


class StoreCorrupt(StoreError, ValueError):
    """A file of the store is not what its manifest says."""


class StoreVersion(StoreError):
    """The store is whole, and was written by a version of fpve that writes what this one can't read."""


class StoreLocked(StoreError, BlockingIOError):
    """Another writer holds the store."""


class SnapshotTaken(StoreLocked):
    """Another writer published a snapshot of that number first: what was made of the one before may not hold."""


class StoreConflict(StoreError, ValueError):
    """What the job asks for contradicts what the store holds."""


class BucketError(FpveError, OSError):
    """An object store can't be asked, or refuses."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # As an error of the operating system says why.
        self.strerror = str(self)


class GuardError(FpveError):
    """Publishing would remove or quarantine more than the job's limits allow."""


class ClusterError(FpveError):
    """There is no Ray to work on, or its workers can't do the work."""


class ServeError(FpveError, ValueError):
    """A store can't be served at this address, or not without a secret that clients know."""


class ServerBusy(FpveError):
    """A server has too much to do to answer now; asked again later, it will."""


class QueryError(FpveError, ValueError):
    """A search, a filter or an SQL statement is wrong."""


class ImageNotFound(QueryError, LookupError):
    """The store holds no image of this id."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word that is most like `word`, or an empty string."""
    close = difflib.get_close_matches(word.casefold(), [str(one) for one in known], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
