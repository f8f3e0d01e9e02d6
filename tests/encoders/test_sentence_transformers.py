"""Where `st:NAME-OR-PATH` finds models, and what counts as the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.errors import EncoderError, EncoderNotFound

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_rows_are_the_library_s_own(text_models: dict[str, Path]) -> None:
    """Embeddings are those of sentence-transformers, not normalised where the model does not do so."""
    from sentence_transformers import SentenceTransformer

    texts = ["one cat", "two cats and a very long tail of words", ""]
    rows = open_text_encoder(EncoderConfig(f"st:{text_models['first']}", device="cpu")).encode(texts)
    expected = SentenceTransformer(str(text_models["first"]), device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_array_equal(rows, expected)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 0.1


def test_half_precision_weights_are_used_in_float32(text_models: dict[str, Path], tmp_path: Path) -> None:
    """A model that is published in float16 is run in float32, so a row does not depend on its batch."""
    from transformers import BertModel

    folder = shutil.copytree(text_models["first"], tmp_path / "half")
    BertModel.from_pretrained(folder).half().save_pretrained(folder)
    encoder = open_text_encoder(EncoderConfig(f"st:{folder}", device="cpu"))
    rows = encoder.encode(["a cat", "a dog that barks at it"])
    usual = open_text_encoder(EncoderConfig(f"st:{text_models['first']}", device="cpu"))
    np.testing.assert_allclose(rows, usual.encode(["a cat", "a dog that barks at it"]), atol=5e-3)
    np.testing.assert_allclose(rows[:1], encoder.encode(["a cat"]), atol=1e-6)


def test_only_what_torch_loads_is_in_the_fingerprint(text_models: dict[str, Path], tmp_path: Path) -> None:
    """Texts about the model and weights for other runtimes don't change the fingerprint; a setting does."""
    folder = shutil.copytree(text_models["first"], tmp_path / "copy")
    (folder / "README.md").write_text("# About")
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"weights for another runtime")

    def fingerprint() -> str:
        return open_text_encoder(EncoderConfig(f"st:{folder}")).fingerprint

    assert fingerprint() == open_text_encoder(EncoderConfig(f"st:{text_models['first']}")).fingerprint
    before = fingerprint()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("name", "repository"),
    [("st:someone/tiny", "models--someone--tiny"), ("st:tiny", "models--sentence-transformers--tiny")],
)
def test_a_cached_model_needs_no_network(
    name: str, repository: str, text_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose model is in the hub's cache is the same encoder as its directory, and the hub is not asked."""

    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", asked)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    shutil.copytree(text_models["first"], tmp_path / repository / "snapshots" / COMMIT)
    (tmp_path / repository / "refs").mkdir()
    (tmp_path / repository / "refs" / "main").write_text(COMMIT)
    cached, local = (open_text_encoder(EncoderConfig(one)) for one in (name, f"st:{text_models['first']}"))
    assert cached.fingerprint == local.fingerprint
    np.testing.assert_array_equal(cached.encode(["a cat"]), local.encode(["a cat"]))
    assert cached.dim == 16


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "modeling_trap.Trap"}]),
        ("1_Pooling/router_config.json", {"types": {"a": "modeling_trap.Trap"}, "structure": {}}),
    ],
)
@pytest.mark.parametrize("open_encoder", [open_text_encoder, open_image_encoder])
def test_code_in_a_model_is_not_run(
    text_models: dict[str, Path], tmp_path: Path, file: str, content: object, open_encoder: Any
) -> None:
    """A model that names a class of its own is refused in one line, and its code is not imported."""
    folder = shutil.copytree(text_models["first"], tmp_path / "trap")
    (folder / file).write_text(json.dumps(content))
    (folder / "modeling_trap.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Trap: pass\n")
    with pytest.raises(EncoderError, match=r"names 'modeling_trap\.Trap', which is not of sent") as caught:
        open_encoder(EncoderConfig(f"st:{folder}", device="cpu")).dim  # noqa: B018
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_list_of_classes_that_can_not_be_read(text_models: dict[str, Path], tmp_path: Path) -> None:
    """A modules.json of something else is named, with the reason."""
    folder = shutil.copytree(text_models["first"], tmp_path / "broken")
    (folder / "modules.json").write_text("[1]")
    with pytest.raises(EncoderError, match=r"modules\.json: expected JSON that names the classes of a model: "):
        open_text_encoder(EncoderConfig(f"st:{folder}")).dim  # noqa: B018


def test_a_snapshot_without_weights_is_no_model(
    text_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that holds the one file that another program asked for is not the model; the hub is asked for it."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    repository = tmp_path / "models--someone--tiny"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.copy(text_models["first"] / "config.json", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    encoder = open_text_encoder(EncoderConfig("st:someone/tiny"))
    assert not encoder.available
    with pytest.raises(EncoderNotFound, match="someone/tiny is not on this machine and can't be fetched"):
        encoder.fingerprint  # noqa: B018


def test_loading_is_silent(text_models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and using a model prints nothing, and leaves the progress bars of other users of the library on."""
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    open_text_encoder(EncoderConfig(f"st:{text_models['first']}")).encode(["a cat"] * 40)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert logging.is_progress_bar_enabled()
