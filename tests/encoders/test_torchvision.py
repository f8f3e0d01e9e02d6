"""What `torchvision:NAME` takes as features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder
from fpve.encoders import torchvision as family


def encode(name: str, pictures: np.ndarray, **options: object) -> np.ndarray:
    """Rows of pictures, on the CPU, where the values that they are compared with come from."""
    return open_image_encoder(EncoderConfig(f"torchvision:{name}", device="cpu", **options)).encode(pictures)


@pytest.fixture
def pictures() -> np.ndarray:
    """Two prepared pictures of noise."""
    return np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


def save(model: object, path: Path) -> Path:
    """Write a model's tensors."""
    from safetensors.torch import save_file

    save_file(model.state_dict(), path)
    return path


def normalised(pictures: np.ndarray) -> object:
    """Pictures as torchvision's own ImageNet transforms leave them."""
    import torch
    from torchvision.transforms.v2.functional import normalize

    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    return normalize(scaled, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("name", "dim", "head"),
    [
        ("resnet18", 512, "fc"),
        ("mobilenet_v3_small", 1024, "classifier.3"),
        ("shufflenet_v2_x0_5", 1024, "fc"),
        ("mnasnet0_5", 1280, "classifier.1"),
        ("densenet121", 1024, "classifier"),
        ("regnet_y_400mf", 440, "fc"),
    ],
)
def test_features_are_what_the_classifier_is_given(
    tmp_path: Path, pictures: np.ndarray, name: str, dim: int, head: str
) -> None:
    """Torchvision's last layer, applied to the features, gives torchvision's own logits."""
    import torch
    import torchvision.models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = torchvision.models.get_model(name, weights=None).eval()
    features = encode(name, pictures, weights=save(model, tmp_path / "weights.safetensors"))
    assert features.shape == (2, dim)
    with torch.no_grad():
        expected = model(normalised(pictures)).numpy()
        found = model.get_submodule(head)(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_gem_is_the_generalised_mean_of_the_feature_map(
    vision_weights: dict[str, Path], tiny_vision: str, pictures: np.ndarray
) -> None:
    """With `gem`, a feature is the cube root of the mean cube of its map; with `mean` the mean."""
    import torch
    import torchvision.models

    model = torchvision.models.get_model(tiny_vision, weights=None).eval()
    model.load_state_dict(torch.load(vision_weights["pickled"], weights_only=True))
    with torch.no_grad():
        feature_map = model.features(normalised(pictures)).numpy().astype(np.float64)
    expected = {
        "mean": feature_map.mean((2, 3)),
        "gem": np.cbrt((np.maximum(feature_map, 1e-6) ** 3).mean((2, 3))),
    }
    for pooling, rows in expected.items():
        found = encode(tiny_vision, pictures, weights=vision_weights["tensors"], pooling=pooling)
        np.testing.assert_allclose(found, rows, rtol=1e-3, atol=1e-5)


def test_gem_where_forward_itself_averages(tmp_path: Path, pictures: np.ndarray) -> None:
    """A network without a pooling layer, here ShuffleNet, pools by GeM too: no feature is below its mean."""
    import torch
    import torchvision.models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None)
    weights = save(model, tmp_path / "weights.safetensors")
    mean, gem = (
        encode("shufflenet_v2_x0_5", pictures, weights=weights, pooling=pooling) for pooling in ("mean", "gem")
    )
    assert (gem >= mean).all()
    assert gem.sum() > 1.1 * mean.sum()


def test_both_file_formats_give_the_same_rows(
    vision_weights: dict[str, Path], tiny_vision: str, pictures: np.ndarray
) -> None:
    """Weights are the same from .safetensors and from what torch saved."""
    tensors, pickled, other = (
        encode(tiny_vision, pictures, weights=vision_weights[name]) for name in ("tensors", "pickled", "other")
    )
    np.testing.assert_array_equal(tensors, pickled)
    assert np.abs(tensors - other).max() > 1e-3


def test_weights_that_torch_hub_holds_are_used(
    vision_weights: dict[str, Path],
    tiny_vision: str,
    pictures: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a local file, the file in torch hub's cache is taken, and its bytes are in the fingerprint."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    published = open_image_encoder(EncoderConfig(f"torchvision:{tiny_vision}"))
    assert not published.available
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(vision_weights["pickled"].read_bytes())
    assert published.available
    local = open_image_encoder(EncoderConfig(f"torchvision:{tiny_vision}", weights=vision_weights["pickled"]))
    assert published.fingerprint == local.fingerprint
    np.testing.assert_array_equal(published.encode(pictures), local.encode(pictures))


def test_an_upgrade_that_sees_pictures_otherwise_is_another_encoder(
    vision_weights: dict[str, Path], tiny_vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fingerprint covers the side and the normalisation that the installed torchvision's table says."""

    def fingerprint() -> str:
        config = EncoderConfig(f"torchvision:{tiny_vision}", weights=vision_weights["tensors"])
        return open_image_encoder(config).fingerprint

    before, usual = fingerprint(), family._look_up(tiny_vision)
    found = []
    for number, change in enumerate(({}, {"side": 232}, {"mean": [1.0, 2.0, 3.0]}, {"std": [1.0, 2.0, 3.0]})):
        table = {**usual, "input": {**usual["input"], **change}}
        monkeypatch.setattr(family, "version_of", lambda library, number=number: f"9.{number}")
        monkeypatch.setattr(family, "_look_up", lambda model, table=table: table)
        found.append(fingerprint())
    assert found[0] == before
    assert len(set(found)) == 4


def test_old_names_of_densenet_layers_are_understood(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DenseNet checkpoint with dots in its layers' names, as torchvision publishes them, is loaded."""
    # Its conversion takes many seconds and is shown above; names matter only until it is loaded.
    monkeypatch.setenv("FPVE_RUNTIME", "torch")
    import re

    import torch
    import torchvision.models

    tensors = torchvision.models.get_model("densenet121", weights=None).state_dict()
    torch.save(tensors, tmp_path / "new.pth")
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    rows = [encode("densenet121", pictures[:1], weights=tmp_path / name) for name in ("new.pth", "old.pth")]
    np.testing.assert_allclose(*rows, rtol=1e-3, atol=1e-4)
