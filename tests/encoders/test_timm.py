"""`timm:NAME`: timm's own features, its pooling and tags, and weights from files and from the hub's cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from tiny_models import TIMM_MODEL, write_timm

from fpve.config import EncoderConfig
from fpve.encoders import ImageEncoder, open_image_encoder
from fpve.encoders import timm as family
from fpve.errors import EncoderError, EncoderNotFound

SIDE = 160
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in torch, to be compared with torch."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Two pictures (2, 160, 160, 3) uint8."""
    return np.random.default_rng(5).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


def opened(weights: Path | None, model: str = TIMM_MODEL, **options: Any) -> ImageEncoder:
    """The encoder of a model with a file of weights."""
    return open_image_encoder(EncoderConfig(f"timm:{model}", weights=weights, device="cpu", **options))


def reference(model: str, weights: Path, pixels: np.ndarray, **options: Any) -> tuple[torch.nn.Module, torch.Tensor]:
    """Timm's model with these weights, and pictures as its pretrained configuration wants them."""
    from safetensors.torch import load_file

    made = timm.create_model(model, num_classes=10).eval()
    made.load_state_dict(load_file(weights))
    mean, std = (torch.tensor(made.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return made, (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize("model", ["test_convnext", "test_vit"])
def test_features_are_timm_s_own(tmp_path: Path, pixels: np.ndarray, model: str) -> None:
    """Without pooling the rows are those of timm with `num_classes=0`, normalised as timm says."""
    weights = write_timm(tmp_path / "w.safetensors", model, 0)
    made, pictures = reference(model, weights, pixels)
    made.reset_classifier(0)
    with torch.inference_mode():
        expected = made(pictures).numpy()
    np.testing.assert_allclose(opened(weights, model).encode(pixels), expected, atol=1e-5)


# Mamba-out's feature maps have their channels last.
@pytest.mark.parametrize("model", ["test_convnext", "test_mambaout"])
def test_pooling_is_of_the_last_feature_map(tmp_path: Path, pixels: np.ndarray, model: str) -> None:
    """`mean` and `gem` (p = 3) pool what `forward_features` gives, whichever way its channels lie."""
    weights = write_timm(tmp_path / "w.safetensors", model, 0)
    made, pictures = reference(model, weights, pixels)
    with torch.inference_mode():
        feature_map = made.forward_features(pictures).numpy().astype(np.float64)
    axes = (2, 3) if model == "test_convnext" else (1, 2)
    for pooling, expected in (
        ("mean", feature_map.mean(axes)),
        ("gem", np.cbrt((np.maximum(feature_map, 1e-6) ** 3).mean(axes))),
    ):
        found = opened(weights, model, pooling=pooling).encode(pixels)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_a_vit_has_no_feature_map(tmp_path: Path) -> None:
    """Pooling is refused where there is nothing to pool, rather than ignored."""
    weights = write_timm(tmp_path / "w.safetensors", "test_vit", 0)
    with pytest.raises(EncoderError, match="does not end in a feature map, so pooling = 'gem' can't be used: leave it"):
        opened(weights, "test_vit", pooling="gem").dim  # noqa: B018


def test_the_classifier_of_a_file_does_not_matter(tmp_path: Path, pixels: np.ndarray) -> None:
    """Files with a classifier of ten classes, of three, or none, give the same rows."""
    from safetensors.torch import load_file, save_file

    ten = write_timm(tmp_path / "ten.safetensors", TIMM_MODEL, 0)
    tensors = load_file(ten)
    head = {name: tensor for name, tensor in tensors.items() if name.startswith("head.fc")}
    three = {name: tensor[:3].contiguous() for name, tensor in head.items()}
    save_file({**tensors, **three}, tmp_path / "three.safetensors")
    torch.save({name: tensors[name] for name in tensors.keys() - head.keys()}, tmp_path / "none.pth")
    assert len(head) == 2
    rows = [opened(tmp_path / name).encode(pixels) for name in ("ten.safetensors", "three.safetensors", "none.pth")]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_weights_of_another_model(tmp_path: Path) -> None:
    """Weights that don't fit are refused in one line, never used in part."""
    weights = write_timm(tmp_path / "w.safetensors", "test_vit", 0)
    for model, reason in (("test_convnext", "no tensor "), ("test_resnet", r"Missing key\(s\) in state_dict: ")):
        with pytest.raises(EncoderError, match=f"w.safetensors: not the weights of {model}: {reason}") as caught:
            opened(weights, model).dim  # noqa: B018
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": (0.1, 0.1, 0.1)},
        {"std": (0.1, 0.1, 0.1)},
        {"input_size": (3, 192, 192)},
        {"tag": "another"},
    ],
)
def test_an_upgrade_that_sees_pictures_otherwise_is_another_encoder(
    timm_weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """The fingerprint covers what the installed timm's table says, so that vectors of two tables are never mixed."""
    before = opened(timm_weights["first"]).fingerprint
    usual = family._look_up
    monkeypatch.setattr(family, "version_of", lambda library: f"9.{change}")
    assert opened(timm_weights["first"]).fingerprint == before
    monkeypatch.setattr(family, "version_of", lambda library: f"10.{change}")
    monkeypatch.setattr(family, "_look_up", lambda model: {**usual(model), **change})
    assert opened(timm_weights["first"]).fingerprint != before


def test_a_name_without_a_tag_stands_for_timm_s_default(timm_weights: dict[str, Path]) -> None:
    """`NAME` and `NAME.TAG` of the default tag are one encoder."""
    named = opened(timm_weights["first"], f"{TIMM_MODEL}.r160_in1k")
    assert opened(timm_weights["first"]).fingerprint == named.fingerprint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnt18", "timm has no model 'resnt18'; did you mean 'resnet18'?"),
        ("resnet18.a1_in2k", "timm has no tag 'a1_in2k' of resnet18; did you mean 'a1_in1k'?; it has a1_in1k, "),
    ],
)
def test_unknown_names(name: str, expected: str) -> None:
    """A name or tag that timm does not have is answered with the nearest that it has."""
    encoder = open_image_encoder(EncoderConfig(f"timm:{name}"))
    with pytest.raises(EncoderNotFound) as caught:
        encoder.fingerprint  # noqa: B018
    assert str(caught.value).startswith(expected)


def test_cached_weights_need_no_network(
    tmp_path: Path, timm_weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray
) -> None:
    """Weights in the hub's cache are the same model as the file; without them the error names the file option."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    name = "test_convnext.r160_in1k"
    cached = open_image_encoder(EncoderConfig(f"timm:{name}", device="cpu"))
    assert not cached.available
    with pytest.raises(EncoderNotFound, match=r'not known.; fetch them elsewhere and give them as weights = "FILE"'):
        cached.fingerprint  # noqa: B018
    repository = tmp_path / "models--timm--test_convnext.r160_in1k"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.copy(timm_weights["first"], repository / "snapshots" / COMMIT / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert cached.available
    local = opened(timm_weights["first"], name)
    assert cached.fingerprint == local.fingerprint
    np.testing.assert_array_equal(cached.encode(pixels), local.encode(pixels))
