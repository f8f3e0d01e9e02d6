"""The house: imports go downwards, and heavy libraries are imported only where they are used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def imported_by(code: str) -> set[str]:
    """Top-level modules that a fresh Python has imported after running `code`."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_imports_go_downwards() -> None:
    """The layers in pyproject.toml hold, faiss and duckdb have one importer each, and queries know no models."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", lint], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fpve", {"torch", "faiss", "duckdb", "pyarrow", "numpy"}),
        ("import fpve.cli", {"torch", "faiss", "duckdb", "pyarrow", "numpy", "rich"}),
        ("import fpve.api", {"torch", "faiss", "duckdb"}),
        ("import fpve.encoders", {"torch", "torchvision", "timm", "sentence_transformers"}),
    ],
)
def test_heavy_libraries_are_imported_where_they_are_used(code: str, absent: set[str]) -> None:
    """Importing a module does not import what only its calls need."""
    assert not imported_by(code) & absent


def test_every_public_name_can_be_imported() -> None:
    """Every name in fpve.__all__ resolves, and an unknown one is an AttributeError."""
    import fpve

    assert all(getattr(fpve, name) is not None for name in fpve.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        fpve.nothing  # noqa: B018
