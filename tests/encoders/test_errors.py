"""What can't be opened or loaded is said in one line that names a way out."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.errors import EncoderError, EncoderNotFound

OFFLINE_IMAGE = "'efficientnet-lite0' is packaged and works offline"
OFFLINE_TEXT = "'minilm' is packaged and works offline"


def message(wanted: type[EncoderError], call: Callable[[], Any]) -> str:
    """The one line of the error that a call raises."""
    with pytest.raises(wanted) as caught:
        call()
    assert type(caught.value) is wanted
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Empty caches, and a network that can't be reached."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet-lite1", "no image encoder 'efficientnet-lite1'; did you mean 'efficientnet-lite0'?"),
        ("torchvison:resnet18", "no image encoder 'torchvison:resnet18'; did you mean 'torchvision'?"),
        ("efficientnet-lite0:b", "no image encoder 'efficientnet-lite0:b'; did you mean 'efficientnet-lite0'?"),
        ("minilm", "no image encoder 'minilm' (minilm is for texts)"),
        (
            "vgg",
            "no image encoder 'vgg'; known: efficientnet-lite0, torchvision:NAME, "
            "timm:NAME, st:NAME-OR-PATH, open_clip:NAME/PRETRAINED, python:MODULE:CLASS, fake[:DIM]",
        ),
        ("torchvision", "image encoder 'torchvision': expected torchvision:NAME"),
        ("torchvision:", "image encoder 'torchvision:': expected torchvision:NAME"),
    ],
)
def test_unknown_image_encoder(name: str, expected: str) -> None:
    """An unknown name is answered with the nearest known one and the one that works offline."""
    text = message(EncoderNotFound, lambda: open_image_encoder(EncoderConfig(name)))
    assert text == f"{expected}; {OFFLINE_IMAGE}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minilmm", "no text encoder 'minilmm'; did you mean 'minilm'?"),
        ("efficientnet-lite0", "no text encoder 'efficientnet-lite0' (efficientnet-lite0 is for pictures)"),
        (
            "word2vec",
            "no text encoder 'word2vec'; known: "
            "minilm, st:NAME-OR-PATH, lm:NAME-OR-PATH, open_clip:NAME/PRETRAINED, python:MODULE:CLASS, fake[:DIM]",
        ),
        ("lm:", "text encoder 'lm:': expected lm:NAME-OR-PATH"),
        ("lm:./nowhere", "encoder 'lm:./nowhere': no directory of a model at nowhere"),
        ("st:", "text encoder 'st:': expected st:NAME-OR-PATH"),
        ("st:./nowhere", "encoder 'st:./nowhere': no directory of a model at nowhere"),
    ],
)
def test_unknown_text_encoder(name: str, expected: str) -> None:
    """An unknown name, or a path that is not there, is answered with the encoder that works offline."""
    text = message(EncoderNotFound, lambda: open_text_encoder(EncoderConfig(name)))
    assert text == f"{expected}; {OFFLINE_TEXT}"


@pytest.mark.parametrize("dim", ["0", "1", "4097", "-3", "many", "3.5", "²"])
@pytest.mark.parametrize("open_encoder", [open_image_encoder, open_text_encoder])
def test_fake_dim_out_of_range(open_encoder: Callable[[EncoderConfig], Any], dim: str) -> None:
    """A fake encoder says which numbers of dimensions it can have."""
    text = message(EncoderError, lambda: open_encoder(EncoderConfig(f"fake:{dim}")))
    assert text == f"fake:DIM takes a whole number from 2 to 4096, found {dim!r}"


@pytest.mark.parametrize(
    ("open_encoder", "name", "option", "value", "taken"),
    [
        (open_image_encoder, "fake", "weights", Path("x"), "resize, batch_size"),
        (open_image_encoder, "fake", "pooling", "gem", "resize, batch_size"),
        (open_image_encoder, "fake", "device", "cpu", "resize, batch_size"),
        (
            open_image_encoder,
            "efficientnet-lite0",
            "weights",
            Path("x"),
            "resize, pooling, precision, batch_size, device",
        ),
        (open_text_encoder, "minilm", "resize", "pad", "batch_size, device"),
        (open_text_encoder, "st:x", "weights", Path("x"), "batch_size, device"),
        (open_text_encoder, "st:x", "pooling", "mean", "batch_size, device"),
        (open_text_encoder, "st:x", "layer", 3, "batch_size, device"),
        (open_text_encoder, "lm:x", "resize", "pad", "pooling, layer, batch_size, device"),
        (open_image_encoder, "fake", "layer", -1, "resize, batch_size"),
        (open_text_encoder, "fake", "device", "cpu", "batch_size"),
    ],
)
def test_options_that_can_not_be_honoured_are_refused(
    open_encoder: Callable[[EncoderConfig], Any], name: str, option: str, value: Any, taken: str
) -> None:
    """An option that would have no effect is an error, not ignored."""
    text = message(EncoderError, lambda: open_encoder(EncoderConfig(name, **{option: value})))
    assert f"encoder {name!r} takes no {option}, found {option} = {str(value)!r}" in text
    assert f"(it takes {taken})" in text


@pytest.mark.parametrize(
    ("open_encoder", "name", "pooling", "expected"),
    [
        (open_image_encoder, "efficientnet-lite0", "last", "'gem' or 'mean'"),
        (open_image_encoder, "torchvision:resnet18", "last", "'gem' or 'mean'"),
        (open_image_encoder, "timm:resnet18", "last", "'gem' or 'mean'"),
        (open_text_encoder, "lm:x", "gem", "'mean' or 'last'"),
    ],
)
def test_poolings_of_the_other_kind_are_refused(
    open_encoder: Callable[[EncoderConfig], Any], name: str, pooling: Any, expected: str
) -> None:
    """A pooling of tokens is none of feature maps, nor the other way round."""
    text = message(EncoderError, lambda: open_encoder(EncoderConfig(name, pooling=pooling)))
    assert text.endswith(f"encoder {name!r} takes no pooling = {pooling!r}: expected {expected}")


def test_unknown_torchvision_model() -> None:
    """A name that torchvision does not have is answered with the nearest that it has."""
    encoder = open_image_encoder(EncoderConfig("torchvision:resnt18"))
    assert message(EncoderNotFound, lambda: encoder.dim) == (
        f"torchvision has no classification model 'resnt18'; did you mean 'resnet18'?; {OFFLINE_IMAGE}"
    )


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "r3d_18"])
def test_torchvision_models_for_other_tasks_are_unknown(name: str) -> None:
    """Detection, segmentation and video models are not taken for classification models."""
    encoder = open_image_encoder(EncoderConfig(f"torchvision:{name}"))
    assert f"no classification model '{name}'" in message(EncoderNotFound, lambda: encoder.fingerprint)


@pytest.mark.usefixtures("no_network")
def test_torchvision_weights_without_network() -> None:
    """Published weights that can't be fetched are an error that names the local file option, never random weights."""
    encoder = open_image_encoder(EncoderConfig("torchvision:resnet18"))
    for use in (lambda: encoder.fingerprint, lambda: encoder.encode(np.zeros((1, 224, 224, 3), np.uint8))):
        text = message(EncoderNotFound, use)
        assert 'give them as weights = "FILE"' in text
        assert OFFLINE_IMAGE in text
        assert "Name or service not known" in text


@pytest.mark.usefixtures("no_network")
def test_model_name_that_is_not_here_without_network() -> None:
    """A text model that is neither on this machine nor to be fetched is an error that names both remedies."""
    encoder = open_text_encoder(EncoderConfig("st:all-mpnet-base-v2"))
    for use in (lambda: encoder.fingerprint, lambda: encoder.dim, lambda: encoder.encode(["a"])):
        text = message(EncoderNotFound, use)
        assert text.startswith("encoder 'st:all-mpnet-base-v2': sentence-transformers/all-mpnet-base-v2 is not on")
        assert "Name or service not known" in text
        assert text.endswith(f"give a directory as st:PATH; {OFFLINE_TEXT}")


def test_directory_that_is_no_model(tmp_path: Path) -> None:
    """A directory that sentence-transformers can't load is named, with the reason."""
    (tmp_path / "config.json").write_text("{}")
    encoder = open_text_encoder(EncoderConfig(f"st:{tmp_path}"))
    text = message(EncoderError, lambda: encoder.encode(["a"]))
    assert f"{tmp_path} can't be loaded by sentence-transformers: " in text
    assert text.endswith(OFFLINE_TEXT)


def test_missing_file_of_weights(tmp_path: Path) -> None:
    """A file of weights that is not there is named when the encoder is opened."""
    config = EncoderConfig("torchvision:resnet18", weights=tmp_path / "none.pth")
    text = message(EncoderNotFound, lambda: open_image_encoder(config))
    assert text == f"encoder 'torchvision:resnet18': no file of weights at {tmp_path / 'none.pth'}; {OFFLINE_IMAGE}"


def test_weights_of_another_model(vision_weights: dict[str, Path]) -> None:
    """Weights that don't fit are refused, with the first tensors that are missing and too many."""
    encoder = open_image_encoder(EncoderConfig("torchvision:alexnet", weights=vision_weights["tensors"]))
    text = message(EncoderError, lambda: encoder.dim)
    assert text == (
        f"{vision_weights['tensors']}: not the weights of this model: of its 16 tensors 12 missing, such as "
        "'features.3.weight' and 48 unknown, such as 'features.10.expand1x1.bias'"
    )


def test_weights_of_another_shape(vision_weights: dict[str, Path], tiny_vision: str, tmp_path: Path) -> None:
    """Weights for another number of classes are refused, with both shapes."""
    import torch

    tensors = torch.load(vision_weights["pickled"], weights_only=True)
    tensors["classifier.1.bias"] = torch.zeros(5)
    torch.save(tensors, tmp_path / "five.pth")
    encoder = open_image_encoder(EncoderConfig(f"torchvision:{tiny_vision}", weights=tmp_path / "five.pth"))
    text = message(EncoderError, lambda: encoder.dim)
    assert text.endswith("'classifier.1.bias' should have the shape (1000,), has (5,)")


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_broken_weights(tmp_path: Path, tiny_vision: str, name: str) -> None:
    """A damaged file is named, with the reason."""
    (tmp_path / name).write_bytes(b"not weights at all")
    encoder = open_image_encoder(EncoderConfig(f"torchvision:{tiny_vision}", weights=tmp_path / name))
    text = message(EncoderError, lambda: encoder.dim)
    assert f"{tmp_path / name}: can't be read as weights: " in text
    # What torch says of it: a way to run whatever a file holds.
    assert "weights_only" not in text


def test_a_pickled_object_is_not_weights(tmp_path: Path, tiny_vision: str) -> None:
    """A checkpoint around the tensors is refused by what it holds, and code in a pickle is never run."""
    import torch

    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "checkpoint.pth")
    torch.save(subprocess.Popen, tmp_path / "code.pth")
    for file, expected in (
        ("checkpoint.pth", "expected named tensors (a state dict), found a dict with the keys 'epoch', 'state_dict'"),
        ("code.pth", "can't be read as weights: not a file of tensors; expected .safetensors, or what torch.save"),
    ):
        encoder = open_image_encoder(EncoderConfig(f"torchvision:{tiny_vision}", weights=tmp_path / file))
        assert f"{tmp_path / file}: {expected}" in message(EncoderError, lambda encoder=encoder: encoder.dim)


@pytest.mark.parametrize("pooling", ["gem", "mean"])
def test_pooling_of_a_network_without_average_pooling(
    monkeypatch: pytest.MonkeyPatch, vision_weights: dict[str, Path], pooling: Any
) -> None:
    """A network that pools in another way refuses the option rather than ignoring it."""
    # AlexNet has 61 million weights; which ones they are is not the point.
    monkeypatch.setattr("fpve.encoders.torchvision._load_strictly", lambda model, path: None)
    config = EncoderConfig("torchvision:alexnet", weights=vision_weights["tensors"], pooling=pooling)
    text = message(EncoderError, lambda: open_image_encoder(config).dim)
    assert text == (
        f"encoder 'torchvision:alexnet' does not end in average pooling, so pooling = {pooling!r} can't be used: "
        "leave it out"
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_here(device: str) -> None:
    """A device that torch does not know or have is named, with one that it has."""
    encoder = open_image_encoder(EncoderConfig("efficientnet-lite0", device=device))
    text = message(EncoderError, lambda: encoder.encode(np.zeros((1, 224, 224, 3), np.uint8)))
    assert text.startswith(f"device {device!r} can't be used here: ")
    assert text.endswith("try device = 'cpu'")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_int8_is_of_cpus(device: str) -> None:
    """A device that int8 can't be computed on is refused when the encoder is opened, whether it is there or not."""
    config = EncoderConfig("efficientnet-lite0", precision="int8", device=device)
    assert message(EncoderError, lambda: open_image_encoder(config)) == (
        f"encoder 'efficientnet-lite0': precision = 'int8' runs on a CPU only, found device {device!r}; "
        "set device = 'cpu', or precision = 'bf16'"
    )


@pytest.mark.parametrize("name", ["efficientnet-lite0", "fake"])
@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 224, 224), (1, 10, 224, 3)])
def test_pictures_that_were_not_prepared(name: str, shape: tuple[int, ...]) -> None:
    """A batch of another shape is refused, with both shapes."""
    encoder = open_image_encoder(EncoderConfig(name))
    text = message(EncoderError, lambda: encoder.encode(np.zeros(shape, np.uint8)))
    assert f"found {shape} and uint8" in text


def test_opening_and_fingerprints_need_no_torch(
    vision_weights: dict[str, Path], text_models: dict[str, Path], tiny_vision: str
) -> None:
    """Opening an encoder, its fingerprint and a packaged encoder's dim import neither torch nor what stands on it.

    What torchvision's table says of a model is asked once for each version of it.
    """
    config = EncoderConfig(f"torchvision:{tiny_vision}", weights=vision_weights["tensors"])
    assert open_image_encoder(config).fingerprint
    program = f"""
import sys
from pathlib import Path
from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder

image, text = open_image_encoder(EncoderConfig("efficientnet-lite0")), open_text_encoder(EncoderConfig("minilm"))
print(image.fingerprint, image.dim, text.fingerprint, text.dim)
weights = Path({str(vision_weights["tensors"])!r})
open_image_encoder(EncoderConfig("torchvision:{tiny_vision}", weights=weights)).fingerprint
open_text_encoder(EncoderConfig("st:" + {str(text_models["first"])!r})).fingerprint
open_image_encoder(EncoderConfig("fake")).fingerprint, open_text_encoder(EncoderConfig("fake")).fingerprint
print(*sorted({{"torch", "torchvision", "timm", "transformers", "sentence_transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    fingerprints, heavy = done.stdout.splitlines()
    assert fingerprints.split()[1::2] == ["1280", "384"]
    assert heavy == ""
