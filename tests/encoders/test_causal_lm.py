"""Hidden states of a causal language model as embeddings of texts, and what of a long text an encoder sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from tiny_models import LM_CONTEXT, write_causal_lm

from fpve.config import EncoderConfig
from fpve.encoders import Limited, open_text_encoder
from fpve.errors import EncoderError, EncoderNotFound

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(causal_models: dict[str, Path]) -> Path:
    """Directory of a tiny model."""
    return causal_models["first"]


def states(folder: Path, text: str) -> list[np.ndarray]:
    """Hidden states (tokens, dim) of every layer, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        found = AutoModelForCausalLM.from_pretrained(folder)(**tokens, output_hidden_states=True).hidden_states
    return [layer[0].numpy() for layer in found]


def row(folder: Path, text: str, **options: Any) -> np.ndarray:
    """One text's embedding."""
    return open_text_encoder(EncoderConfig(f"lm:{folder}", device="cpu", **options)).encode([text])[0]


def test_the_mean_leaves_the_first_token_out(folder: Path) -> None:
    """The default is the mean of the last hidden states of all tokens but the first."""
    found = states(folder, "a cat")
    np.testing.assert_allclose(row(folder, "a cat"), found[-1][1:].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(row(folder, "a cat", layer=1), found[1][1:].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_last_is_the_last_token(folder: Path) -> None:
    """With pooling `last` a row is the state of the last token, in a batch of longer texts, too."""
    encoder = open_text_encoder(EncoderConfig(f"lm:{folder}", pooling="last", layer=0, device="cpu"))
    rows = encoder.encode(["a cat", "a cat that is longer"])
    np.testing.assert_allclose(rows[0], states(folder, "a cat")[0][-1], rtol=1e-5)


def test_a_text_of_one_token_is_that_token(folder: Path) -> None:
    """An empty text has nothing but the mark of the beginning, whose state it gets."""
    np.testing.assert_allclose(row(folder, ""), states(folder, "")[-1][0], rtol=1e-5)


def test_an_empty_text_of_a_model_that_marks_no_beginning(folder: Path, tmp_path: Path) -> None:
    """Where a tokenizer makes no tokens of an empty text, it is the one that stands between texts."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    file = copy / "tokenizer.json"
    from tokenizers import Tokenizer, processors

    plain = Tokenizer.from_file(str(file))
    plain.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    plain.save(str(file))
    np.testing.assert_allclose(row(copy, ""), row(folder, ""), rtol=1e-5)
    np.testing.assert_allclose(row(copy, "x"), row(copy, "x", pooling="last"), rtol=1e-5)


def test_padding_changes_nothing(folder: Path) -> None:
    """A short text alone and beside one that is a hundred times longer is the same vector."""
    encoder = open_text_encoder(EncoderConfig(f"lm:{folder}", device="cpu"))
    alone, beside = encoder.encode(["cat"])[0], encoder.encode(["dog " * 100, "cat"])[1]
    np.testing.assert_allclose(alone, beside, rtol=1e-5, atol=1e-6)


def test_what_is_longer_than_the_context_is_not_seen(folder: Path) -> None:
    """The first 511 characters and the mark of the beginning count; `cut` says how many characters are left."""
    encoder = open_text_encoder(EncoderConfig(f"lm:{folder}", device="cpu"))
    assert isinstance(encoder, Limited)
    seen = "abcdefg" * 73
    assert len(seen) == LM_CONTEXT - 1
    rows = encoder.encode([seen, seen + " and more", seen[:-1] + "x"])
    assert encoder.cut([seen, seen + " and more", "", "é" * 520]) == [0, 9, 0, 9]
    np.testing.assert_array_equal(encoder.encode([seen, seen + " and more", seen[:-1] + "x"]), rows)
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5, atol=1e-6)
    assert np.abs(rows[0] - rows[2]).max() > 1e-4


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_has_not(folder: Path, layer: int) -> None:
    """A layer out of range is refused with those that there are."""
    with pytest.raises(EncoderError, match=rf"layer = {layer}: the model has the hidden states 0 \(its input\) to 2"):
        row(folder, "a", layer=layer)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    """A directory that holds something else is refused when the encoder is opened."""
    with pytest.raises(EncoderNotFound, match=r"no config\.json in .*: expected a directory as transformers saves"):
        open_text_encoder(EncoderConfig(f"lm:{tmp_path}"))


def test_missing_weights_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    """A checkpoint that lacks tensors is refused: transformers would fill them in at random."""
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"1 are missing, such as 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        row(copy, "a")


def test_code_in_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    """A model that names classes of its own is refused in one line, and its code is not imported."""
    import json

    copy = shutil.copytree(folder, tmp_path / "trap")
    config = json.loads((copy / "config.json").read_text())
    classes = {"AutoConfig": "modeling_trap.Config", "AutoModelForCausalLM": "modeling_trap.Trap"}
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "trap", "auto_map": classes}))
    (copy / "modeling_trap.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    with pytest.raises(EncoderError, match="can't be loaded by transformers") as caught:
        row(copy, "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_pickled_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    """Weights that torch saved are read as tensors, and what else a pickle holds is refused."""
    import torch

    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(subprocess.Popen, copy / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="can't be loaded by transformers"):
        row(copy, "a")


def test_a_cached_model_needs_no_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose model is in the hub's cache is the same encoder as its directory; one that is not says so."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    cached, local = (open_text_encoder(EncoderConfig(one)) for one in ("lm:someone/tiny", f"lm:{folder}"))
    assert cached.available
    assert cached.fingerprint == local.fingerprint
    np.testing.assert_array_equal(cached.encode(["a cat"]), local.encode(["a cat"]))
    absent = open_text_encoder(EncoderConfig("lm:someone/else"))
    assert not absent.available
    with pytest.raises(EncoderNotFound, match="someone/else is not on this machine and can't be fetched"):
        absent.fingerprint  # noqa: B018


def test_opening_and_the_fingerprint_need_no_torch(folder: Path) -> None:
    """An encoder whose model is a directory is opened and told from others without torch and transformers."""
    program = (
        "import sys; from fpve.config import EncoderConfig; from fpve.encoders import open_text_encoder; "
        f"open_text_encoder(EncoderConfig({f'lm:{folder}'!r})).fingerprint; "
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and using a model prints nothing, whatever the length of a text."""
    row(folder, "a" * 2000)
    open_text_encoder(EncoderConfig(f"lm:{folder}")).cut(["a" * 2000])  # type: ignore[attr-defined]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_closing_gives_the_model_back(folder: Path) -> None:
    """A closed encoder loads its model again when it is asked, and says the same."""
    encoder: Any = open_text_encoder(EncoderConfig(f"lm:{folder}", device="cpu"))
    first = encoder.encode(["a cat"])
    encoder.close()
    np.testing.assert_array_equal(encoder.encode(["a cat"]), first)


def test_what_minilm_does_not_see() -> None:
    """Of a text of 300 words the first 254 count, and asking so changes no embedding."""
    encoder: Any = open_text_encoder(EncoderConfig("minilm", device="cpu"))
    assert isinstance(encoder, Limited)
    texts = ["cat " * 254, "cat " * 300, "", "東 " * 300]
    before = encoder.encode(texts)
    assert encoder.cut(texts) == [0, 46 * 4 + 1, 0, 46 * 2 + 1]
    np.testing.assert_array_equal(encoder.encode(texts), before)
    np.testing.assert_allclose(before[0], before[1], atol=1e-6)


def test_what_a_model_puts_before_a_text_takes_room(tmp_path: Path, text_models: dict[str, Path]) -> None:
    """A prompt of the model's own counts among the tokens that it sees, and not among the characters that are cut."""
    import json

    copy = shutil.copytree(text_models["first"], tmp_path / "copy")
    settings = {"prompts": {"clustering": "query "}, "default_prompt_name": "clustering"}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(settings))
    text = "a " * 100
    # Of 64 tokens two are special, and five spell `query`.
    assert open_text_encoder(EncoderConfig(f"st:{text_models['first']}")).cut([text]) == [200 - 62 * 2 + 1]  # type: ignore[attr-defined]
    assert open_text_encoder(EncoderConfig(f"st:{copy}")).cut([text]) == [200 - 57 * 2 + 1]  # type: ignore[attr-defined]


def test_a_model_of_its_own_layout_is_read_as_it_is(tmp_path: Path) -> None:
    """GPT-2, which calls its parts otherwise and marks no beginning, is an encoder as well."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = write_causal_lm(tmp_path / "gpt2", 3)
    (folder / "generation_config.json").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=24, n_layer=3, n_head=2)
        GPT2LMHeadModel(config).save_pretrained(folder)
    encoder: Any = open_text_encoder(EncoderConfig(f"lm:{folder}", device="cpu"))
    assert encoder.encode(["a cat", "x" * 100]).shape == (2, 24)
    assert encoder.cut(["x" * 100]) == [37]
