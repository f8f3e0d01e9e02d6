"""Feature maps before they are pooled: pooling them gives the rows of the encoder, whichever family and runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import write_timm

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder
from fpve.encoders.networks import pool
from fpve.encoders.vision import FeatureMaps, VisionEncoder

LITE0 = "efficientnet-lite0"


def opened(name: str, **options: Any) -> VisionEncoder:
    """The encoder of this name on the CPU."""
    found = open_image_encoder(EncoderConfig(name, device="cpu", **options))
    assert isinstance(found, VisionEncoder)
    return found


def maps_of(encoder: VisionEncoder) -> FeatureMaps:
    """Its feature maps, which it has."""
    found = encoder.feature_maps()
    assert found is not None
    return found


def prepared(encoder: VisionEncoder, photographs: list[Image.Image]) -> np.ndarray:
    """The photographs as the encoder takes them."""
    return np.stack([encoder.prepare(one) for one in photographs])


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_pooled_maps_are_the_rows_of_lite0(
    monkeypatch: pytest.MonkeyPatch, photographs: list[Image.Image], runtime: str
) -> None:
    """Maps (n, 1280, 7, 7) pooled by GeM, and by the mean, are what `encode` gives with this pooling."""
    monkeypatch.setenv("FPVE_RUNTIME", runtime)
    maps = maps_of(opened(LITE0))
    batch = prepared(opened(LITE0), photographs)
    found = maps.encode(batch)
    assert (maps.shape, found.shape, found.dtype) == ((1280, 7, 7), (7, 1280, 7, 7), np.float32)
    for pooling in ("gem", "mean"):
        rows = pool(torch.from_numpy(found), pooling).numpy()
        np.testing.assert_allclose(rows, opened(LITE0, pooling=pooling).encode(batch), rtol=1e-3, atol=1e-4)


# Mamba-out's feature maps have their channels last, and what timm makes of them without a pooling is normalised.
@pytest.mark.parametrize("model", ["test_convnext", "test_mambaout"])
def test_pooled_maps_are_the_rows_of_a_timm_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: list[Image.Image], model: str
) -> None:
    """A model that is opened without a pooling has the maps that poolings pool."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")
    weights = write_timm(tmp_path / "w.safetensors", model, 0)
    encoder = opened(f"timm:{model}", weights=weights)
    batch = prepared(encoder, photographs)
    found = torch.from_numpy(maps_of(encoder).encode(batch))
    for pooling in ("gem", "mean"):
        expected = opened(f"timm:{model}", weights=weights, pooling=pooling).encode(batch)
        np.testing.assert_allclose(pool(found, pooling).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_pooled_maps_are_the_rows_of_a_torchvision_model(
    monkeypatch: pytest.MonkeyPatch, tiny_vision: str, vision_weights: dict[str, Path], photographs: list[Image.Image]
) -> None:
    """They are taken where torchvision pools, also by four threads at once, of which each gets its own."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")
    options = {"weights": vision_weights["tensors"]}
    encoder = opened(f"torchvision:{tiny_vision}", **options)
    batch, maps = prepared(encoder, photographs), maps_of(encoder)
    with ThreadPoolExecutor(4) as threads:
        alone = list(threads.map(lambda at: maps.encode(batch[at % 7][None]), range(28)))
    np.testing.assert_allclose(np.concatenate(alone[:7]), np.concatenate(alone[21:]), rtol=1e-5, atol=1e-6)
    found = torch.from_numpy(np.concatenate(alone[:7]))
    for pooling in ("gem", "mean"):
        expected = opened(f"torchvision:{tiny_vision}", pooling=pooling, **options).encode(batch)
        np.testing.assert_allclose(pool(found, pooling).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_maps_are_of_another_fingerprint_than_rows() -> None:
    """What is converted of the one is never taken for the other."""
    encoder = opened(LITE0)
    maps = maps_of(encoder)
    assert maps.fingerprint != encoder.fingerprint
    assert maps.fingerprint == maps_of(opened(LITE0)).fingerprint
    assert maps.fingerprint != maps_of(opened(LITE0, resize="pad")).fingerprint


def test_what_has_no_feature_map_says_so(tmp_path: Path, picture_models: dict[str, Path]) -> None:
    """A ViT and a CLIP have none, nor has MobileNetV3: it makes something else of what it pools."""
    import torchvision.models

    weights = write_timm(tmp_path / "w.safetensors", "test_vit", 0)
    assert opened("timm:test_vit", weights=weights).feature_maps() is None
    assert opened(f"st:{picture_models['clip']}").feature_maps() is None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torchvision.models.get_model("mobilenet_v3_small", weights=None).state_dict()
    torch.save(state, tmp_path / "mobile.pth")
    assert opened("torchvision:mobilenet_v3_small", weights=tmp_path / "mobile.pth").feature_maps() is None


def test_weights_of_positions() -> None:
    """Equal weights are the pooling without weights; with all on one position its features are what is left."""
    maps = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    one = torch.zeros(2, 3, 4)
    one[:, 2, 1] = 1
    for pooling in ("gem", "mean"):
        equal = pool(maps, pooling, torch.full((2, 3, 4), 1 / 12))
        torch.testing.assert_close(equal, pool(maps, pooling))
        torch.testing.assert_close(pool(maps, pooling, one), maps[:, :, 2, 1])
