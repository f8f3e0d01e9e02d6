"""What a run remembers of its sources, so that the next one need not read or list what did not change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fpve.pipeline.contents import RACY_NS, Contents
from fpve.planning.plan import CollectionPlan
from fpve.store.archives import forget_archives, write_archive_index
from fpve.store.scanstate import write_scan_state


def remember(root: Path, contents: Iterable[Contents], scanned_at: int) -> int:
    """Write what was learnt of files and archives where the caches say something else; the bytes of that."""
    written = 0
    for one in contents:
        state = one.scan_state(scanned_at)
        if state is not None:
            written += write_scan_state(root, one.plan.name, one.plan.scan.identity, state)
        # After the scan state: until both are written, what is listed anew is read anew as well.
        written += _remember_archives(root, one.plan, scanned_at)
    return written


def _remember_archives(root: Path, plan: CollectionPlan, scanned_at: int) -> int:
    forget_archives(root, plan.name, [os.fsencode(one) for one in plan.scan.roots])
    return sum(
        write_archive_index(root, plan.name, one.archive, one.stamp, one.members)
        for one in plan.scan.indexes
        if one.stamp.tag or one.stamp.mtime_ns < scanned_at - RACY_NS
    )
