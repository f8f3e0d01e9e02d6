"""`st:…` for pictures: CLIP and SigLIP give the rows of sentence-transformers; models without pictures say so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import CLIP_DIM, CLIP_SIDE

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.encoders.sentence_model import SentenceModel
from fpve.errors import EncoderError


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in torch, to be compared with torch."""
    monkeypatch.setenv("FPVE_RUNTIME", "torch")


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_rows_are_the_library_s_own(picture_models: dict[str, Path], model: str) -> None:
    """Squares of the model's own size are encoded as sentence-transformers encodes them, with the model's processor."""
    from sentence_transformers import SentenceTransformer

    pixels = np.random.default_rng(5).integers(0, 256, (3, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    encoder = open_image_encoder(EncoderConfig(f"st:{picture_models[model]}", device="cpu"))
    prepared = np.stack([encoder.prepare(one) for one in pictures])
    np.testing.assert_array_equal(prepared, pixels)
    library = SentenceTransformer(str(picture_models[model]), device="cpu")
    np.testing.assert_allclose(encoder.encode(prepared), library.encode(pictures), atol=1e-5)
    assert (encoder.dim, encoder.available) == (CLIP_DIM, True)


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_both_sides_of_a_model_share_a_space(picture_models: dict[str, Path], model: str) -> None:
    """Pictures and texts of one model are in one space, those of another in another; a text model names none."""
    image, text = (one(EncoderConfig(f"st:{picture_models[model]}")) for one in (open_image_encoder, open_text_encoder))
    assert image.space == text.space
    assert image.space.startswith("st:")
    assert image.space != open_image_encoder(EncoderConfig(f"st:{picture_models['other_clip']}")).space
    assert image.fingerprint != text.fingerprint
    assert open_text_encoder(EncoderConfig("minilm")).space is None


def test_a_text_is_a_text(picture_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is the path or the address of a picture is neither opened nor fetched."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("cat.png")
    encoder = open_text_encoder(EncoderConfig(f"st:{picture_models['clip']}"))
    texts = ["cat.png", "https://example.invalid/cat.png", "data:image/png;base64,AAAA"]
    rows = encoder.encode(texts)
    Path("cat.png").unlink()
    np.testing.assert_allclose(encoder.encode(texts), rows, atol=1e-6)


def test_what_it_sees_is_remembered(
    picture_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A later process with a converted network loads no model of torch's, and no process holds one that is not run."""
    monkeypatch.setenv("FPVE_RUNTIME", "openvino")
    # What other tests have made the cache remember is not remembered here.
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))
    load, loaded = SentenceModel.load, []
    monkeypatch.setattr(SentenceModel, "load", lambda *args: [loaded.append(args), load(*args)][1])
    config = EncoderConfig(f"st:{picture_models['siglip']}", device="cpu", resize="pad")
    pixels = np.random.default_rng(5).integers(0, 256, (2, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    first = open_image_encoder(config)
    assert (first.side, len(loaded)) == (CLIP_SIDE, 1)
    rows = first.encode(pixels)
    assert (first._held, len(loaded)) == (None, 1)
    second = open_image_encoder(config)
    np.testing.assert_array_equal(second.encode(pixels), rows)
    assert (second.side, second._held, len(loaded)) == (CLIP_SIDE, None, 1)


def test_a_model_that_is_asked_but_run_by_its_copy_is_let_go(
    picture_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where only the network is remembered, the model is loaded to ask it, and not held."""
    monkeypatch.setenv("FPVE_RUNTIME", "openvino")
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))
    config = EncoderConfig(f"st:{picture_models['siglip']}", device="cpu")
    assert open_image_encoder(config).batch_size > 0
    shutil.rmtree(tmp_path / "facts")
    for use in (lambda encoder: encoder.batch_size, lambda encoder: encoder.dim):
        encoder = open_image_encoder(config)
        use(encoder)
        assert encoder._held is None


def test_conversion_is_silent(
    picture_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Converting CLIP prints nothing, transformers' remark that there is no loss included."""
    from transformers.utils import logging

    logging.warning_once.cache_clear()
    monkeypatch.setenv("FPVE_RUNTIME", "openvino")
    monkeypatch.setenv("FPVE_CACHE", str(tmp_path))
    assert open_image_encoder(EncoderConfig(f"st:{picture_models['clip']}", device="cpu")).dim == CLIP_DIM
    assert capfd.readouterr() == ("", "")


def test_a_text_model_takes_no_pictures(text_models: dict[str, Path]) -> None:
    """A model that knows no pictures is refused in one line."""
    encoder = open_image_encoder(EncoderConfig(f"st:{text_models['first']}"))
    with pytest.raises(EncoderError, match="its model takes no pictures, as CLIP and SigLIP do; 'efficientnet-lite0'"):
        encoder.dim  # noqa: B018


def test_fingerprints_need_no_torch(picture_models: dict[str, Path], timm_weights: dict[str, Path]) -> None:
    """With local weights, fingerprints, spaces and availability are told without torch, once a table is known."""
    program = f"""
import sys
from pathlib import Path
from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder

names = ["st:" + {str(picture_models["clip"])!r}, "open_clip:" + {str(picture_models["open_clip"])!r}]
encoders = [one(EncoderConfig(name)) for name in names for one in (open_image_encoder, open_text_encoder)]
encoders.append(open_image_encoder(EncoderConfig("timm:resnet18", weights=Path({str(timm_weights["first"])!r}))))
print(*(one.fingerprint for one in encoders), *(one.space for one in encoders), *(one.available for one in encoders))
print(*sorted({{"torch", "timm", "transformers", "sentence_transformers", "open_clip"}} & set(sys.modules)))
"""
    # The first process with a version of a library asks its tables; later ones recall them.
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()[0].split()) == 15
    assert done.stdout.splitlines()[1:] in ([], [""])
