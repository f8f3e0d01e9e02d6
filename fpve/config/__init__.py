"""Job files: the TOML that says what collections a store should contain, as frozen values."""

from __future__ import annotations

from fpve.config.encoders import DECIDING, NO_ENCODER, EncoderConfig, Encoders, Pooling, Precision, Resize
from fpve.config.job import (
    AUTO,
    DEFAULT_TARGET_RECALL,
    CollectionConfig,
    ColumnTypeName,
    FusionConfig,
    IndexConfig,
    Job,
    Limits,
)
from fpve.config.loading import load_job, parse_job, resolve_paths
from fpve.config.predict import HEADS, HeadName, PredictRule, VoteWeights
from fpve.config.prefixes import (
    OTHERWISE,
    GenerateConfig,
    PrefixRule,
    as_rules,
    is_address,
    rule_settings,
    written_rules,
)

__all__ = [
    "DEFAULT_TARGET_RECALL",
    "AUTO",
    "DECIDING",
    "NO_ENCODER",
    "OTHERWISE",
    "CollectionConfig",
    "ColumnTypeName",
    "EncoderConfig",
    "Encoders",
    "FusionConfig",
    "GenerateConfig",
    "HeadName",
    "HEADS",
    "Job",
    "IndexConfig",
    "Limits",
    "Pooling",
    "Precision",
    "PredictRule",
    "PrefixRule",
    "Resize",
    "VoteWeights",
    "as_rules",
    "is_address",
    "load_job",
    "parse_job",
    "resolve_paths",
    "rule_settings",
    "written_rules",
]
