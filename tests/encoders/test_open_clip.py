"""`open_clip:…`: rows are open_clip's own, from a directory, a file, or the hub's cache; what it says without them."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from tiny_models import CLIP_DIM, CLIP_SIDE

from fpve.config import EncoderConfig
from fpve.encoders import open_clip as family
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.errors import EncoderError, EncoderNotFound

TEXTS = ["a cat", "a very long text of more words than the model's context of sixteen tokens holds", ""]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in torch, to be compared with torch."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")


@pytest.fixture
def registered(picture_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model's file of weights; open_clip knows the model as `tiny`, published as `web` and `quick`."""
    import open_clip

    folder = picture_models["open_clip"]
    config = json.loads((folder / "open_clip_config.json").read_text())
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config["model_cfg"])
    published = {"hf_hub": "someone/tiny/", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, "tiny", {"web": published, "quick": {**published, "quick_gelu": True}}
    )
    return folder / "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Three pictures (3, side, side, 3) uint8."""
    return np.random.default_rng(5).integers(0, 256, (3, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)


def expected(
    folder: Path, pixels: np.ndarray, mean: Any = 0.5, std: Any = 0.5, *, quick: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What open_clip makes of pictures and texts."""
    import open_clip
    from safetensors.torch import load_file

    config = json.loads((folder / "open_clip_config.json").read_text())
    model = open_clip.CLIP(**config["model_cfg"], quick_gelu=quick)
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    mean, std = (torch.tensor(value).broadcast_to(3).view(1, 3, 1, 1) for value in (mean, std))
    pictures = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        tokens = open_clip.SimpleTokenizer(context_length=16)(TEXTS)
        return model.eval().encode_image(pictures).numpy(), model.encode_text(tokens).numpy()


def test_rows_are_open_clip_s_own(picture_models: dict[str, Path], pixels: np.ndarray) -> None:
    """Both sides give the rows of open_clip, not normalised, in one space; the config's mean and deviation are used."""
    folder = picture_models["open_clip"]
    image = open_image_encoder(EncoderConfig(f"open_clip:{folder}", device="cpu"))
    text = open_text_encoder(EncoderConfig(f"open_clip:{folder}", device="cpu"))
    pictures, texts = expected(folder, pixels)
    np.testing.assert_allclose(image.encode(pixels), pictures, atol=1e-5)
    np.testing.assert_allclose(text.encode(TEXTS), texts, atol=1e-5)
    assert image.space == text.space is not None
    assert image.space != open_image_encoder(EncoderConfig(f"open_clip:{picture_models['other_open_clip']}")).space
    assert (image.dim, text.dim, image.available, text.available) == (CLIP_DIM, CLIP_DIM, True, True)


def test_a_file_of_weights(picture_models: dict[str, Path], registered: Path, pixels: np.ndarray) -> None:
    """With a file, NAME alone normalises as OpenAI's models do, NAME/PRETRAINED as the published weights want it."""
    import open_clip

    folder = picture_models["open_clip"]
    usual = open_image_encoder(EncoderConfig("open_clip:tiny", weights=registered, device="cpu"))
    tagged = open_image_encoder(EncoderConfig("open_clip:tiny/web", weights=registered, device="cpu"))
    openai = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    np.testing.assert_allclose(usual.encode(pixels), expected(folder, pixels, *openai)[0], atol=1e-5)
    np.testing.assert_allclose(tagged.encode(pixels), expected(folder, pixels)[0], atol=1e-5)
    assert usual.fingerprint != tagged.fingerprint
    text = open_text_encoder(EncoderConfig("open_clip:tiny/web", weights=registered, device="cpu"))
    np.testing.assert_allclose(text.encode(TEXTS), expected(folder, pixels)[1], atol=1e-5)
    assert text.space == tagged.space


def test_an_activation_that_the_weights_want(
    picture_models: dict[str, Path], registered: Path, pixels: np.ndarray
) -> None:
    """Weights that were trained with OpenAI's quick GELU get it, whatever the model's configuration says."""
    quick = open_image_encoder(EncoderConfig("open_clip:tiny/quick", weights=registered, device="cpu"))
    found = quick.encode(pixels)
    np.testing.assert_allclose(found, expected(picture_models["open_clip"], pixels, quick=True)[0], atol=1e-5)
    assert np.abs(found - expected(picture_models["open_clip"], pixels)[0]).max() > 1e-3


def test_an_upgrade_that_says_otherwise_is_another_encoder(registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints cover what open_clip's tables say: of pictures the normalisation, of both sides the activation."""
    import open_clip

    def fingerprints() -> tuple[str, str]:
        config = EncoderConfig("open_clip:tiny/web", weights=registered)
        return open_image_encoder(config).fingerprint, open_text_encoder(config).fingerprint

    before = fingerprints()
    usual = open_clip.pretrained._PRETRAINED["tiny"]["web"]
    found = []
    for number, change in enumerate(({}, {"mean": (0.1,) * 3}, {"std": (0.1,) * 3}, {"quick_gelu": True})):
        monkeypatch.setattr(family, "version_of", lambda library, number=number: f"9.{number}")
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED["tiny"], "web", {**usual, **change})
        found.append(fingerprints())
    assert found[0] == before
    assert len({image for image, _ in found}) == 4
    assert [text == before[1] for _, text in found] == [True, True, True, False]


def test_cached_weights_need_no_network(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray
) -> None:
    """Published weights in the hub's cache are the same model as the file; without them the error names the file."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    image, text = (one(EncoderConfig("open_clip:tiny/web")) for one in (open_image_encoder, open_text_encoder))
    for encoder in (image, text):
        assert not encoder.available
        with pytest.raises(
            EncoderNotFound, match=r'someone/tiny is not on this machine .* give it as weights = "FILE"'
        ):
            encoder.fingerprint  # noqa: B018
    repository = tmp_path / "models--someone--tiny"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.copy(registered, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    local = open_image_encoder(EncoderConfig("open_clip:tiny/web", weights=registered))
    assert image.available
    assert image.fingerprint == local.fingerprint
    np.testing.assert_array_equal(image.encode(pixels), local.encode(pixels))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/openai", "open_clip has no model 'ViT-B-33'; "),
        ("ViT-B-32/opnai", "open_clip has no weights 'opnai' of ViT-B-32; did you mean 'openai'?; there is openai, "),
        ("tiny", "expected open_clip:NAME/PRETRAINED, or a file as weights; there is web, quick"),
        ("./nowhere", "no directory of a model at nowhere"),
    ],
)
@pytest.mark.parametrize("open_encoder", [open_image_encoder, open_text_encoder])
def test_unknown_names(open_encoder: Any, name: str, message: str) -> None:
    """A model, or weights, that there are not, are answered with the nearest, or with what there is."""
    with pytest.raises(EncoderNotFound) as caught:
        open_encoder(EncoderConfig(f"open_clip:{name}")).fingerprint  # noqa: B018
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model(registered: Path, vision_weights: dict[str, Path]) -> None:
    """Weights that don't fit are refused in one line, never used in part."""
    encoder = open_image_encoder(EncoderConfig("open_clip:tiny", weights=vision_weights["tensors"]))
    with pytest.raises(EncoderError, match="not the weights of 'open_clip:tiny': ") as caught:
        encoder.dim  # noqa: B018
    assert "\n" not in str(caught.value)


def test_a_directory_without_a_configuration(tmp_path: Path) -> None:
    """A directory that open_clip could not read is refused when opened, a broken configuration when used."""
    with pytest.raises(EncoderNotFound, match=r"no open_clip_config.json in the directory"):
        open_image_encoder(EncoderConfig(f"open_clip:{tmp_path}"))
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(EncoderError, match="expected model_cfg and preprocess_cfg in JSON: KeyError"):
        open_image_encoder(EncoderConfig(f"open_clip:{tmp_path}")).dim  # noqa: B018


@pytest.mark.parametrize("open_encoder", [open_image_encoder, open_text_encoder])
def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch, open_encoder: Any) -> None:
    """Where open_clip is not installed, the error says how to install it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderNotFound, match=r"needs open_clip, which is not installed: `pip install 'fpve\[open-cl"):
        open_encoder(EncoderConfig("open_clip:ViT-B-32/openai"))


def test_loading_is_silent_and_leaves_logging_alone(
    picture_models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """open_clip logs to the root logger; nothing is printed, and the logger is as it was."""
    before = list(logging.getLogger().handlers)
    for open_encoder in (open_image_encoder, open_text_encoder):
        open_encoder(EncoderConfig(f"open_clip:{picture_models['open_clip']}")).dim  # noqa: B018
    assert logging.getLogger().handlers == before
    assert capfd.readouterr() == ("", "")
