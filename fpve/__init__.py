"""Frozen-prefix visual embeddings: image collections encoded once, then searched, classified and queried.

    import fpve

    fpve.run("catalogue.toml")
    store = fpve.open("indexes/catalogue")
    for hit in store.search(text="a red bicycle", k=5):
        print(hit.score, hit.path)

Importing this module is cheap: torch, faiss and duckdb are imported by the calls that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fpve import errors
from fpve._version import __version__
from fpve.errors import FpveError

if TYPE_CHECKING:
    from fpve.api import Store, open, run
    from fpve.batch import Batch, BatchReport
    from fpve.config import Job, load_job
    from fpve.edits.label import LabelReport, label
    from fpve.edits.prefix import Corrected, set_prefix
    from fpve.engines.cluster.cluster import Cluster
    from fpve.experiment.compare import Compared, compare
    from fpve.export import Exported
    from fpve.maintenance.compact import Compacted, compact
    from fpve.maintenance.history import history
    from fpve.maintenance.prune import Pruned, prune
    from fpve.maintenance.repair import Repair, repair
    from fpve.maintenance.rollback import RolledBack, rollback
    from fpve.maintenance.verify import Verification, verify
    from fpve.pipeline.align import Aligned, align
    from fpve.pipeline.check import check
    from fpve.pipeline.encode import encode
    from fpve.pipeline.freeze import FrozenReport, freeze
    from fpve.pipeline.imports import Imported, import_vectors
    from fpve.pipeline.init import init
    from fpve.pipeline.preview import preview
    from fpve.pipeline.report import RunReport
    from fpve.pipeline.train import TrainedHead, train
    from fpve.records import Evaluation, Explanation, FittedWeight, Hits, Predictions
    from fpve.status import Status

__all__ = [
    "open",
    "run",
    "encode",
    "import_vectors",
    "label",
    "align",
    "train",
    "preview",
    "compare",
    "freeze",
    "set_prefix",
    "check",
    "init",
    "load_job",
    "history",
    "verify",
    "repair",
    "rollback",
    "compact",
    "prune",
    "Store",
    "Job",
    "Cluster",
    "Hits",
    "Explanation",
    "Batch",
    "BatchReport",
    "Predictions",
    "Evaluation",
    "FittedWeight",
    "RunReport",
    "LabelReport",
    "Imported",
    "Exported",
    "Aligned",
    "TrainedHead",
    "Compared",
    "Corrected",
    "FrozenReport",
    "Status",
    "Verification",
    "Repair",
    "RolledBack",
    "Compacted",
    "Pruned",
    "FpveError",
    "errors",
    "__version__",
]

_HOMES = {
    **dict.fromkeys(("open", "run", "Store"), "fpve.api"),
    **dict.fromkeys(("Job", "load_job"), "fpve.config"),
    **dict.fromkeys(("Hits", "Explanation", "Predictions", "Evaluation", "FittedWeight"), "fpve.records"),
    **dict.fromkeys(("Batch", "BatchReport"), "fpve.batch"),
    "Status": "fpve.status",
    **dict.fromkeys(("align", "Aligned"), "fpve.pipeline.align"),
    **dict.fromkeys(("train", "TrainedHead"), "fpve.pipeline.train"),
    **dict.fromkeys(("set_prefix", "Corrected"), "fpve.edits.prefix"),
    **dict.fromkeys(("freeze", "FrozenReport"), "fpve.pipeline.freeze"),
    "preview": "fpve.pipeline.preview",
    **dict.fromkeys(("compare", "Compared"), "fpve.experiment.compare"),
    "Cluster": "fpve.engines.cluster.cluster",
    "check": "fpve.pipeline.check",
    "encode": "fpve.pipeline.encode",
    **dict.fromkeys(("import_vectors", "Imported"), "fpve.pipeline.imports"),
    "Exported": "fpve.export",
    "init": "fpve.pipeline.init",
    **dict.fromkeys(("label", "LabelReport"), "fpve.edits.label"),
    "RunReport": "fpve.pipeline.report",
    **dict.fromkeys(("verify", "Verification"), "fpve.maintenance.verify"),
    **dict.fromkeys(("repair", "Repair"), "fpve.maintenance.repair"),
    **dict.fromkeys(("compact", "Compacted"), "fpve.maintenance.compact"),
    **dict.fromkeys(("prune", "Pruned"), "fpve.maintenance.prune"),
    "history": "fpve.maintenance.history",
    **dict.fromkeys(("rollback", "RolledBack"), "fpve.maintenance.rollback"),
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fpve' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
