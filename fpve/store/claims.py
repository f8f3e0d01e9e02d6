"""Claims: of the machines that share a store in a bucket, nobody publishes what another one deletes.

Who publishes names files that are there, and who deletes deletes files that no manifest names: either is wrong where
the other comes in between. A machine's lock says nothing to other machines, so each puts a claim, a small object beside
the manifests, then lists these, and goes on only if the listing has no claim of the other kind; when it is done, it
removes its own. This is Dekker's algorithm, and asks of a bucket that a listing has what was put before it began.

Call a section what is done between that listing and the removal. No section of one who publishes overlaps one of
another who deletes: of the two claims one was put first, and is there until its section ends; the other one's listing
came after its own put, and so would have had it. Therefore

- a manifest names only files that are there: they were looked at in the section in which it was put;
- what is deleted no manifest names: all of them are read in the section, and whoever publishes later looks later;
- two that delete do no harm to one another, and of those that publish one wins the number.

Who publishes waits with its claim put, so that nobody else begins to delete; who deletes takes its claim back, and
tries again: one of two that have met always goes on.

A process that is killed leaves its claim. It expires by the bucket's clock, which tells the time of every claim; so the
living put theirs anew. One that was held up, and may have been taken for dead, stops by itself, by its own clock, early
enough for what it asked for last to be over. Where a request may yet be carried out, as its answer is lost or was not
waited for, the claim is left to expire.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from fpve.buckets import Object
from fpve.errors import BucketError, StoreLocked
from fpve.events import Events
from fpve.replica import Replica, replica_of, shown
from fpve.store.lock import Owner, in_words
from fpve.store.manifest import FOLDER

PUBLISHING, DELETING = "publishing", "deleting"
# Seconds. A claim is put anew once a minute; who could not do so for four does nothing more; after fifteen others take
# it for that of a dead process. The time between is for the last request: botocore makes it five times, waits half a
# minute for each answer, and pauses for up to 20 seconds: four minutes. Where it is to make many more, that is too few.
_RENEWED, _HELD, _EXPIRES = 60.0, 240.0, 900.0
# Who publishes waits longer than a dead process's claim lasts, for much work may be lost; `prune` is called again.
_PATIENCE = {PUBLISHING: 1_800.0, DELETING: 60.0}
# So that the longest wait takes 900 listings, which cost half a cent.
_POLL = 2.0
# A listing that is behind is so for a moment.
_LISTINGS = 5
# For who knows nothing of claims they are temporary files, which `prune` deletes once they are old.
_NAME = re.compile(rf"{FOLDER}/\.[0-9a-f]{{16}}\.({PUBLISHING}|{DELETING})\.tmp")


class Claim:
    """What tells other machines that this one publishes or deletes. Safe to use from many threads.

    Attributes:
        listed: the manifests and claims by name, as they were when nobody was in the way.
    """

    def __init__(self, replica: Replica, kind: str) -> None:
        self.listed: dict[str, Object] = {}
        self._replica = replica
        self._kind = kind
        self._name = f"{FOLDER}/.{secrets.token_hex(8)}.{kind}.tmp"
        self._content = Owner.of(replica.root).to_bytes()
        self._lock = Lock()
        self._put_at = _now()
        self._stays = False

    @property
    def now(self) -> datetime:
        """What time it was when nobody was in the way, by the bucket's clock; by this machine's where it tells none."""
        return self.listed[self._name].put_at or datetime.now(UTC)

    def put(self) -> None:
        """Begin to tell.

        Raises:
            BucketError: that can't be done.
        """
        self._put_at = _now()
        self._replica.bucket.put_new(self._name, self._content)

    def keep(self) -> None:
        """See to it that nobody takes this process for dead; to be called before anything that others rely on.

        Raises:
            StoreLocked: somebody may have done so.
            BucketError: the bucket can't be asked.
        """
        with self._lock:
            self._check()
            if _since(self._put_at) > _RENEWED:
                start = _now()
                self._replica.bucket.write(self._name, self._content)
                self._put_at = start
                self._check()

    def leave(self) -> None:
        """Leave it to expire: what was asked for may yet be done."""
        self._stays = True

    def remove(self) -> None:
        """Tell no more; where that can't be done, it expires."""
        if not self._stays:
            with suppress(BucketError):
                self._replica.bucket.remove([self._name])

    def holder(self) -> str | None:
        """Who is in the way, in words; None if nobody is. Claims of the dead are removed.

        Raises:
            BucketError: the bucket can't be asked.
        """
        own = self._list()
        for name, one in self.listed.items():
            kind = _NAME.fullmatch(name)
            if kind is None or name == self._name:
                continue
            if own.mtime_ns - one.mtime_ns > _EXPIRES * 1e9:
                self._replica.bucket.remove([name])
            elif kind[1] != self._kind:
                return self._words(name)
        return None

    def _words(self, name: str) -> str:
        """Who has put another claim, for people."""
        try:
            return in_words(self._replica.bucket.read(name))
        except FileNotFoundError:
            # It is gone since; but what else is listed may be, too.
            return in_words(b"")

    def _list(self) -> Object:
        """See what is there; returns what is said of this claim."""
        for _ in range(_LISTINGS):
            self.listed = listing(self._replica)
            if self._name in self.listed:
                return self.listed[self._name]
            time.sleep(_POLL)
        raise BucketError(
            f"{self._replica.bucket.url}/{FOLDER}: expected a listing to have what was put before it, found it "
            "missing; who else writes to the store is not known, and nothing was changed"
        )

    def _check(self) -> None:
        if _since(self._put_at) > _HELD:
            raise StoreLocked(
                f"{self._replica.root}: this process was held up for {_since(self._put_at):,.0f} s, in which others "
                "may have changed the store; run again"
            )


@contextmanager
def publishing(replica: Replica) -> Iterator[Claim]:
    """Keep other machines from deleting files of a store until the block is left; those that do are waited for.

    Raises:
        StoreLocked: one took too long.
        BucketError: the bucket can't be asked.
    """
    waiting = _Waiting(replica, PUBLISHING, "is deleting files of the store; nothing was published")
    with _told(replica, PUBLISHING) as claim:
        while (holder := claim.holder()) is not None:
            waiting.wait(holder)
            claim.keep()
        yield claim


@contextmanager
def deleting(root: Path) -> Iterator[Claim | None]:
    """Keep other machines from publishing until the block is left; those that do so have a minute to end.

    In a directory there is nothing to claim: it has the writer's lock.

    Raises:
        StoreLocked: one took too long.
        BucketError: the bucket can't be asked.
    """
    replica = replica_of(root)
    if replica is None:
        yield None
        return
    waiting = _Waiting(replica, DELETING, "is publishing a snapshot; nothing was deleted")
    while True:
        with _told(replica, DELETING) as claim:
            holder = claim.holder()
            if holder is None:
                try:
                    yield claim
                except BaseException as error:
                    # Nobody waits for what is under way where somebody interrupts; a refusal comes after all of it.
                    if isinstance(error, BucketError) or not isinstance(error, Exception):
                        claim.leave()
                    raise
                return
        waiting.wait(holder)


def listing(replica: Replica) -> dict[str, Object]:
    """The manifests and claims of a store by name."""
    return {one.name: one for one in replica.bucket.objects(FOLDER)}


def is_claim(name: str) -> bool:
    """Whether a file of a store, by its name in it, is a claim."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def _told(replica: Replica, kind: str) -> Iterator[Claim]:
    claim = Claim(replica, kind)
    try:
        claim.put()
        yield claim
    finally:
        claim.remove()


class _Waiting:
    """One wait for others, which is told once, and ends."""

    def __init__(self, replica: Replica, kind: str, what: str) -> None:
        self._root = replica.root
        self._patience = _PATIENCE[kind]
        self._what = what
        self._start: float | None = None

    def wait(self, holder: str) -> None:
        """Wait a moment for who is in the way.

        Raises:
            StoreLocked: that took too long.
        """
        if self._start is None:
            self._start = time.monotonic()
            Events(Owner.of(self._root).job, shown(self._root)).send("waiting", holder=holder)
        elif time.monotonic() - self._start > self._patience:
            raise StoreLocked(
                f"{self._root}: {holder} {self._what}. Try again when that is done; if it was killed, "
                f"{_EXPIRES / 60:.0f} minutes later"
            )
        time.sleep(_POLL)


def _now() -> tuple[float, float]:
    """The time by two clocks: one goes on while a machine sleeps, the other is never set back."""
    return time.time(), time.monotonic()


def _since(before: tuple[float, float]) -> float:
    """Seconds since a time, by whichever clock has it longer ago."""
    return max(now - then for now, then in zip(_now(), before, strict=True))
