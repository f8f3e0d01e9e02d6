"""What is said of a causal language model that runs here and gives no answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from generators.refusals import local, refused

from fpve.generators import Answer

OPENS = "{{ messages[0].content }}<think>\n"


@pytest.mark.parametrize("prompt", ["", " \n", "half a \ud83d cat"])
def test_a_prompt_that_is_none_loads_no_model(prompt: str) -> None:
    """A blank prompt, or one with half a character, is refused before the model is looked for."""
    text, is_general = refused(lambda: local("/nowhere").generate(prompt))
    assert text.startswith("language model 'hf:/nowhere': expected a prompt ")
    assert not is_general


def test_a_picture_is_refused(models: dict[str, Path]) -> None:
    """A model that runs here takes no pictures, whatever is asked."""
    text, is_general = refused(lambda: local(models["chat"]).generate("What is it?", b"JPEG"))
    assert text == f"language model 'hf:{models['chat']}' takes no pictures here"
    assert is_general


def test_tokens_of_a_server_s_answer_are_not_known(models: dict[str, Path]) -> None:
    """An answer without token ids has none to be kept."""
    text, is_general = refused(lambda: local(models["chat"]).keep_tokens(Answer("a cat"), 1))
    assert text == f"language model 'hf:{models['chat']}': the tokens of this answer are not known; use keep_chars"
    assert is_general


@pytest.mark.parametrize(
    ("pieces", "template", "count", "found"),
    [
        ((" ", "\n"), None, 9, "a blank one, 3 tokens; ask it otherwise"),
        ((), None, 9, "a blank one, 1 tokens; ask it otherwise"),
        ((" ", "\n", "A"), None, 2, "a blank one, 2 tokens; raise max_tokens, or ask it otherwise"),
        (("é",), None, 1, "a blank one, 1 tokens; raise max_tokens, or ask it otherwise"),
        (("<think>", "hm", "m"), None, 3, "nothing but thoughts, 3 tokens; raise max_tokens, or ask it otherwise"),
        (("<think>", "hm", "</think>", "\n"), None, 9, "nothing but thoughts, 5 tokens; ask it otherwise"),
        (("hm", "m"), OPENS, 2, "nothing but thoughts, 2 tokens; raise max_tokens, or ask it otherwise"),
    ],
)
def test_a_blank_answer_is_an_error(
    scripted: Callable[..., Path], pieces: tuple[str, ...], template: str | None, count: int, found: str
) -> None:
    """White space, nothing, a part of a character or nothing but thoughts are no prefix; another prompt may do."""
    folder = scripted(*pieces, template=template)
    text, is_general = refused(lambda: local(folder, max_tokens=count).generate("Describe it"))
    assert text == f"language model 'hf:{folder}': expected a text, found {found}"
    assert not is_general


@pytest.mark.parametrize(
    ("template", "system", "end"),
    [
        ("{{ raise_exception('no system') }}", "Be brief.", "no system; write what `system` says into the prompt"),
        ("{{ raise_exception('not\nso') }}", None, "not; take a model with another one"),
        ("{% if %}", None, "; take a model with another one"),
    ],
)
def test_a_chat_template_that_can_t_be_filled_in(
    scripted: Callable[..., Path], template: str, system: str | None, end: str
) -> None:
    """A template that is broken, or takes no system message, is an error for every prompt that says what to do."""
    folder = scripted("A", template=template)
    text, is_general = refused(lambda: local(folder, system=system).generate("Describe it"))
    assert text.startswith(f"language model 'hf:{folder}': its chat template can't be filled in: ")
    assert text.endswith(end)
    assert is_general


def broken(folder: Path, kind: str) -> Path:
    """Break a copy of a model."""
    weights = folder / "model.safetensors"
    if kind == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif kind == "garbage":
        (folder / "config.json").write_text("{]")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "half":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "no tokenizer":
        for file in folder.glob("*token*"):
            file.unlink()
    elif kind == "no language model":
        (folder / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    return folder


@pytest.mark.parametrize("kind", ["empty", "garbage", "no weights", "half", "no tokenizer", "no language model"])
def test_a_directory_that_is_no_model(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """What can't be loaded is named as a language model, in one line with a way out, for every prompt."""
    folder = broken(shutil.copytree(models["chat"], tmp_path / "copy"), kind)
    generator = local(folder)
    for _ in range(2):
        text, is_general = refused(lambda: generator.generate("x"))
        assert text.startswith(f"language model 'hf:{folder}': ")
        assert text.endswith("; give a directory as hf:PATH, or ask a server as openai:MODEL with its base_url")
        assert "encoder" not in text
        assert is_general
    if kind == "empty":
        assert refused(generator.check) == (text, True)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A path where nothing is is an error before any prompt."""
    folder = tmp_path / "nowhere"
    wanted = (
        f"language model 'hf:{folder}': no directory of a model at {folder}; give a directory as hf:PATH, or ask a "
        "server as openai:MODEL with its base_url"
    )
    assert refused(local(folder).check) == (wanted, True)
    assert refused(lambda: local(folder).generate("x")) == (wanted, True)


def test_a_name_on_a_hub_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model that is not here and can't be fetched is said not to be, by the first prompt."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    generator = local("someone/tiny")
    generator.check()
    text, is_general = refused(lambda: generator.generate("x"))
    assert text == (
        "language model 'hf:someone/tiny': someone/tiny is not on this machine and can't be fetched from the Hugging "
        "Face hub (Name or service not known); give a directory as hf:PATH, or ask a server as openai:MODEL with its "
        "base_url"
    )
    assert is_general


def test_a_device_that_is_none(models: dict[str, Path]) -> None:
    """A device that this machine does not have is an error for every prompt."""
    text, is_general = refused(lambda: local(models["chat"], device="gpu").generate("x"))
    assert text.startswith(f"language model 'hf:{models['chat']}': device 'gpu' can't be used here: ")
    assert is_general
