"""Tiny models on disk, so that every family runs without a model hub."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image

# The smallest of torchvision's networks: 1.2 million weights.
TINY_VISION = "squeezenet1_1"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep torch to one thread: where cores are busy, its threads wait for each other, a call for a second and more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no runtimes, which takes seconds, and of which another one may win each time.

    That a network can be converted is the harder question, and the vectors are the same but for their last digits.
    """
    monkeypatch.setenv("FPVE_RUNTIME", "openvino")


@pytest.fixture(scope="session")
def tiny_vision() -> str:
    """Name of the torchvision model that `vision_weights` are for."""
    return TINY_VISION


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Seven RGB pictures of different sizes and contents."""
    random = np.random.default_rng(7)
    sizes = [(64, 48), (48, 64), (224, 224), (300, 20), (20, 300), (1, 1), (500, 333)]
    coarse = [random.integers(0, 256, (5, 5, 3), dtype=np.uint8) for _ in sizes]
    return [
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        for pixels, size in zip(coarse, sizes, strict=True)
    ]


@pytest.fixture(scope="session")
def vision_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights of TINY_VISION: `tensors` and `pickled` hold the same, `other` different ones."""
    import torch
    import torchvision.models
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("vision")
    files = {name: folder / name for name in ("a.safetensors", "a.pth", "b.safetensors")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        first, second = (torchvision.models.get_model(TINY_VISION, weights=None).state_dict() for _ in range(2))
    save_file(first, files["a.safetensors"])
    torch.save(first, files["a.pth"])
    save_file(second, files["b.safetensors"])
    return {"tensors": files["a.safetensors"], "pickled": files["a.pth"], "other": files["b.safetensors"]}


@pytest.fixture(scope="session")
def timm_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights of tiny_models.TIMM_MODEL: `first` and `other` of ten classes."""
    folder = tmp_path_factory.mktemp("timm")
    return {
        name: tiny_models.write_timm(folder / f"{name}.safetensors", tiny_models.TIMM_MODEL, seed)
        for seed, name in enumerate(("first", "other"))
    }


@pytest.fixture(scope="session")
def picture_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of models that take pictures and texts; `other_clip` differs from `clip` in its weights only."""
    folder = tmp_path_factory.mktemp("pictures")
    return {
        "clip": tiny_models.write_clip(folder / "clip", 0),
        "other_clip": tiny_models.write_clip(folder / "other_clip", 1),
        "siglip": tiny_models.write_siglip(folder / "siglip", 0),
        "open_clip": tiny_models.write_open_clip(folder / "open_clip", 0),
        "other_open_clip": tiny_models.write_open_clip(folder / "other_open_clip", 1),
    }


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file that docs/encoders.md tells its reader to copy, and weights for it."""
    folder = tiny_models.write_template(tmp_path_factory.mktemp("template"))
    np.save(folder / "weights.npy", np.random.default_rng(1).standard_normal((192, 95)))
    return folder


@pytest.fixture(scope="session")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two directories of sentence-transformers models with 16 dimensions, different in their random weights only."""
    folder = tmp_path_factory.mktemp("text")
    return {name: write_text_model(folder / name, seed) for seed, name in enumerate(("first", "second"))}


@pytest.fixture(scope="session")
def causal_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two directories of causal language models, different in their random weights only."""
    folder = tmp_path_factory.mktemp("causal")
    return {name: tiny_models.write_causal_lm(folder / name, seed) for seed, name in enumerate(("first", "second"))}


def write_text_model(folder: Path, seed: int) -> Path:
    """Write a BERT of two layers that spells its words, with mean pooling, in the layout of sentence-transformers."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (folder / "1_Pooling").mkdir(parents=True)
    letters = [*string.ascii_lowercase, *string.digits]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
            )
        )
    model.save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64}', encoding="utf-8")
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder
