"""What every encoder must do, whatever its family: one suite for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import CLIP_DIM, LM_DIM, TIMM_MODEL

from fpve.config import EncoderConfig
from fpve.encoders import check_encoder, open_image_encoder, open_text_encoder

TEXTS = [
    "a photo of a cat",
    "",
    "Two planes over the alps, seen from a third one, in the last light of a long day in June",
    "x",
    "?!",
    "Zürich 東京",
    "a photo of a cat",
]


@dataclass(frozen=True)
class Case:
    """An encoder under test, and the inputs that it gets.

    Attributes:
        open: opens a new instance, with these options besides those of the case.
        inputs: prepared pictures (7, …), or seven texts; made with a given encoder.
        dim: length of a row.
        neutral: options that must not change the fingerprint.
        telling: options that must.
    """

    open: Callable[..., Any]
    inputs: Callable[[Any], Any]
    dim: int
    neutral: list[dict[str, Any]]
    telling: list[dict[str, Any]] = field(default_factory=list)


PICTURES = [
    *("efficientnet-lite0", "torchvision", "timm", "st-clip", "st-siglip", "open_clip", "python-image", "fake-image"),
]
WORDS = ["minilm", "st", "st-clip-text", "st-siglip-text", "lm", "open_clip-text", "python-text", "fake-text"]


@pytest.fixture(params=[*PICTURES, *WORDS])
def case(
    request: pytest.FixtureRequest,
    tiny_vision: str,
    photographs: list[Image.Image],
    vision_weights: dict[str, Path],
    timm_weights: dict[str, Path],
    picture_models: dict[str, Path],
    text_models: dict[str, Path],
    causal_models: dict[str, Path],
    template: Path,
) -> Case:
    """One encoder of each family."""

    def image(name: str, **options: Any) -> Callable[..., Any]:
        return lambda **more: open_image_encoder(EncoderConfig(**{"name": name, **options, **more}))

    def text(name: str, **options: Any) -> Callable[..., Any]:
        return lambda **more: open_text_encoder(EncoderConfig(**{"name": name, **options, **more}))

    def prepared(encoder: Any) -> Any:
        return np.stack([encoder.prepare(picture) for picture in photographs])

    def texts(encoder: Any) -> Any:
        return TEXTS

    batch, cpu = {"batch_size": 3}, {"device": "cpu"}
    resize = [{"resize": "pad"}, {"resize": "crop"}]
    tiny = image(f"torchvision:{tiny_vision}", weights=vision_weights["tensors"])
    other_weights = {"weights": vision_weights["other"]}
    st = f"st:{text_models['first']}"
    clip, siglip, open_clip = (
        f"{family}:{picture_models[name]}"
        for family, name in (("st", "clip"), ("st", "siglip"), ("open_clip", "open_clip"))
    )
    other_clip, other_open_clip = f"st:{picture_models['other_clip']}", f"open_clip:{picture_models['other_open_clip']}"
    pictures, words = "python:our_encoders:Pictures", "python:our_encoders:Texts"
    squash = {"resize": "squash"}
    cases = {
        "timm": lambda: Case(
            image(f"timm:{TIMM_MODEL}", weights=timm_weights["first"]),
            prepared,
            64,
            [batch, cpu, squash],
            [*resize, {"pooling": "gem"}, {"pooling": "mean"}, {"weights": timm_weights["other"]}],
        ),
        "st-clip": lambda: Case(image(clip), prepared, CLIP_DIM, [batch, cpu, squash], [*resize, {"name": other_clip}]),
        "st-siglip": lambda: Case(image(siglip), prepared, CLIP_DIM, [batch, cpu, squash], [*resize, {"name": clip}]),
        "open_clip": lambda: Case(
            image(open_clip), prepared, CLIP_DIM, [batch, cpu, squash], [*resize, {"name": other_open_clip}]
        ),
        "python-image": lambda: Case(
            image(pictures, path=template), prepared, 96, [batch], [{"weights": template / "weights.npy"}]
        ),
        "st-clip-text": lambda: Case(text(clip), texts, CLIP_DIM, [batch, cpu], [{"name": other_clip}]),
        "st-siglip-text": lambda: Case(text(siglip), texts, CLIP_DIM, [batch, cpu], [{"name": clip}]),
        "open_clip-text": lambda: Case(text(open_clip), texts, CLIP_DIM, [batch, cpu], [{"name": other_open_clip}]),
        "python-text": lambda: Case(text(words, path=template), texts, 128, [batch]),
        "efficientnet-lite0": lambda: Case(
            image("efficientnet-lite0"),
            prepared,
            1280,
            [batch, cpu, {"resize": "squash"}, {"pooling": "gem"}],
            [*resize, {"pooling": "mean"}],
        ),
        "torchvision": lambda: Case(
            tiny,
            prepared,
            512,
            [batch, cpu, {"resize": "squash"}, {"pooling": "mean"}],
            [*resize, {"pooling": "gem"}, other_weights],
        ),
        "fake-image": lambda: Case(
            image("fake"), prepared, 32, [batch, {"name": "fake:32"}], [*resize, {"name": "fake:8"}]
        ),
        "minilm": lambda: Case(text("minilm"), texts, 384, [batch, cpu], [{"name": st}]),
        "st": lambda: Case(text(st), texts, 16, [batch, cpu], [{"name": f"st:{text_models['second']}"}]),
        "lm": lambda: Case(
            text(f"lm:{causal_models['first']}"),
            texts,
            LM_DIM,
            [batch, cpu, {"pooling": "mean"}, {"layer": -1}],
            [{"pooling": "last"}, {"layer": 1}, {"name": f"lm:{causal_models['second']}"}],
        ),
        "fake-text": lambda: Case(text("fake"), texts, 32, [batch, {"name": "fake:32"}], [{"name": "fake:8"}]),
    }
    return cases[request.param]()


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    return np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def test_fingerprint_is_stable_and_follows_what_decides_the_output(case: Case) -> None:
    """Two instances agree on 16 hex digits, which options change exactly when they change rows."""
    fingerprint = case.open().fingerprint
    assert re.fullmatch("[0-9a-f]{16}", fingerprint)
    assert [case.open(**options).fingerprint for options in case.neutral] == [fingerprint] * len(case.neutral)
    others = [case.open(**options).fingerprint for options in case.telling]
    assert len({fingerprint, *others}) == 1 + len(case.telling)


def test_weights_that_are_here_are_said_to_be_here(case: Case) -> None:
    """None of these encoders would fetch anything, and saying so loads nothing."""
    assert case.open().available


def test_name_is_what_the_configuration_says(case: Case) -> None:
    """An encoder keeps the name by which it was opened."""
    encoder = case.open(batch_size=5)
    assert encoder.name
    assert case.open().name == encoder.name
    assert encoder.batch_size == 5
    assert case.open().batch_size >= 1


def test_rows_are_float32_finite_nonzero_and_of_the_announced_width(case: Case) -> None:
    """Seven inputs give seven C-contiguous float32 rows of `dim` finite numbers, also where batch_size is three."""
    encoder = case.open(batch_size=3)
    rows = encoder.encode(case.inputs(encoder))
    assert rows.shape == (7, case.dim)
    assert encoder.dim == case.dim
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert np.isfinite(rows).all()
    assert (np.linalg.norm(rows, axis=1) > 1e-3).all()


def test_no_inputs_give_no_rows(case: Case) -> None:
    """An empty batch is answered with shape (0, dim)."""
    encoder = case.open()
    rows = encoder.encode(case.inputs(encoder)[:0])
    assert rows.shape == (0, case.dim)
    assert rows.dtype == np.float32


def test_a_row_does_not_depend_on_its_batch(case: Case) -> None:
    """An input alone, in a batch, and in batches of another size gives the same direction to cosine 0.99999."""
    encoder = case.open()
    inputs = case.inputs(encoder)
    together = encoder.encode(inputs)
    alone = np.concatenate([encoder.encode(inputs[i : i + 1]) for i in range(7)])
    assert cosines(together, alone).min() >= 0.99999
    assert cosines(together, case.open(batch_size=2).encode(inputs)).min() >= 0.99999
    assert cosines(together, encoder.encode(inputs[::-1])[::-1]).min() >= 0.99999


def test_two_instances_encode_alike_and_tell_inputs_apart(case: Case) -> None:
    """Encoding is deterministic, between calls and between instances, and different inputs give different rows."""
    encoder = case.open()
    inputs = case.inputs(encoder)
    rows = encoder.encode(inputs)
    np.testing.assert_array_equal(encoder.encode(inputs), rows)
    np.testing.assert_array_equal(case.open().encode(inputs), rows)
    assert cosines(rows[:1], rows[2:3])[0] < 0.9999


def test_first_use_from_several_threads(case: Case) -> None:
    """Four threads that make the first call at the same time get what one thread gets."""
    expected = case.open()
    inputs = case.inputs(expected)
    encoder = case.open()
    barrier = Barrier(4)

    def use(_: int) -> np.ndarray:
        barrier.wait()
        return encoder.encode(case.inputs(encoder)[:3])

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(use, range(4)))
    for rows in results:
        assert cosines(rows, expected.encode(inputs[:3])).min() >= 0.99999


def test_the_check_for_users_passes(case: Case) -> None:
    """What `fpve check` puts a user's own encoder to is passed by all of fpve's."""
    check_encoder(case.open())


RESIZING = [name for name in PICTURES if name != "python-image"]


@pytest.mark.parametrize("case", RESIZING, indirect=True)
@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
def test_pictures_of_all_sizes_are_prepared_alike(case: Case, resize: str, photographs: list[Image.Image]) -> None:
    """`prepare` gives one shape and dtype, whatever the size of the picture and the way it is resized."""
    encoder = case.open(resize=resize)
    made = {(array.shape, array.dtype) for array in map(encoder.prepare, photographs)}
    assert len(made) == 1


@pytest.mark.parametrize("case", PICTURES, indirect=True)
def test_resize_and_pooling_change_rows(
    case: Case, photographs: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes the fingerprint of a vision model changes its rows."""
    # Converting each variant would take a second; the runtimes agree.
    monkeypatch.setenv("FPVE_RUNTIME", "torch")
    strip = photographs[3]
    usual = case.open()
    row = usual.encode(usual.prepare(strip)[None])
    for options in case.telling:
        other = case.open(**options)
        changed = other.encode(other.prepare(strip)[None])
        assert changed.shape != row.shape or cosines(row, changed)[0] < 0.9999, options


@pytest.mark.parametrize("case", PICTURES, indirect=True)
def test_similar_pictures_are_closer_than_different_ones(case: Case, photographs: list[Image.Image]) -> None:
    """A picture is closer to a darker copy of itself than to another picture."""
    encoder = case.open()
    darker = photographs[6].point(lambda value: value * 0.9)
    rows = encoder.encode(np.stack([encoder.prepare(one) for one in (photographs[6], darker, photographs[2])]))
    assert cosines(rows[:1], rows[1:2])[0] > cosines(rows[:1], rows[2:])[0]
