"""Tiny models with random weights, so that every family runs without a model hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

# The smallest of timm's own test models that ends in a feature map; its default pooling is the mean, then a layer norm.
TIMM_MODEL = "test_convnext"
CLIP_DIM = 24
CLIP_SIDE = 32


def write_clip(folder: Path, seed: int) -> Path:
    """Write a CLIP of two layers a side that spells its words, as transformers and sentence-transformers have it."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)
    square = {"height": CLIP_SIDE, "width": CLIP_SIDE}
    pictures = CLIPImageProcessor(size={"shortest_edge": CLIP_SIDE}, crop_size=square)
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    start, end = len(tokens) - 2, len(tokens) - 1
    words = {"vocab_size": len(tokens), "max_position_embeddings": 32, "bos_token_id": start, "eos_token_id": end}
    config = CLIPConfig(
        text_config={**side, **words, "pad_token_id": end},
        vision_config={**side, "image_size": CLIP_SIDE, "patch_size": 8},
        projection_dim=CLIP_DIM,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    return folder


def write_siglip(folder: Path, seed: int) -> Path:
    """Write a SigLIP of two layers a side that knows a few words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        SiglipProcessor,
    )

    unknown = "<unk>"
    words = ["<pad>", "</s>", unknown, *"abcdefghijklmnopqrstuvwxyz"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": unknown}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=16, **special)
    pictures = SiglipImageProcessor(size={"height": CLIP_SIDE, "width": CLIP_SIDE})
    SiglipProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    side = {"hidden_size": CLIP_DIM, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={
            **side,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "projection_size": CLIP_DIM,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        vision_config={**side, "image_size": CLIP_SIDE, "patch_size": 8},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        SiglipModel(config).save_pretrained(folder)
    return folder


def write_open_clip(folder: Path, seed: int) -> Path:
    """Write a CLIP of two layers a side in the layout in which open_clip publishes models on the hub."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model = {
        "embed_dim": CLIP_DIM,
        "vision_cfg": {"image_size": CLIP_SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        # As many tokens as open_clip's own tokenizer has.
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    half = [0.5, 0.5, 0.5]
    config = {"model_cfg": model, "preprocess_cfg": {"mean": half, "std": half}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = open_clip.CLIP(**model)
    save_file(
        {name: tensor.contiguous() for name, tensor in made.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


def write_timm(file: Path, model: str, seed: int, *, classes: int = 10) -> Path:
    """Write the weights of one of timm's models, with a classifier or none."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(timm.create_model(model, num_classes=classes).state_dict(), file)
    return file


def write_template(folder: Path) -> Path:
    """Write the file that docs/encoders.md tells its reader to copy."""
    page = Path(__file__).parents[1] / "docs" / "encoders.md"
    [code] = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "our_encoders.py").write_text(code, encoding="utf-8")
    return folder


# What the tiny causal model reads and writes at most: its tokens are single characters.
LM_CONTEXT = 512
LM_DIM = 32
_LM_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def write_causal_lm(folder: Path, seed: int, *, chat: bool = True) -> Path:
    """Write a Llama of two layers that spells in printable ASCII, with or without a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    unknown = "<unk>"
    tokens = ["<pad>", "<s>", "</s>", unknown, *(chr(code) for code in range(32, 127))]
    inner = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=unknown))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": unknown}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=LM_CONTEXT, **special)
    if chat:
        tokenizer.chat_template = _LM_TEMPLATE
    tokenizer.save_pretrained(folder)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=LM_DIM,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LM_CONTEXT,
        # With the usual 0.02 the answer is the same whatever the prompt.
        initializer_range=0.5,
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    return folder


def write_scripted_lm(folder: Path, *pieces: str, template: str | None = None) -> Path:
    """Write a Llama that answers every prompt by these pieces, whatever it is, and then ends.

    A piece of ASCII is one token, of another each byte is. No token may occur twice, or in the prompt as a word: the
    next one follows from the last one alone.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    def spelled(text: str) -> str:
        """A character for each byte, as a byte-level vocabulary has them."""
        return "".join(part for part, _ in pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text))

    unknown, end = "<unk>", "</s>"
    said = [token for piece in pieces for token in ([spelled(piece)] if piece.isascii() else spelled(piece))]
    tokens = [unknown, *said, end]
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"expected tokens that differ, found {tokens}")
    inner = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=unknown))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=end, unk_token=unknown)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    # Half of it is rotated by the position, in pairs: an even number of dimensions.
    width = len(tokens) + len(tokens) % 2
    ends = {"bos_token_id": None, "eos_token_id": len(tokens) - 1}
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=LM_CONTEXT,
        tie_word_embeddings=False,
        **ends,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.model.norm.weight.fill_(1)
        # A token's state is a dimension of its own, which only its successor listens to.
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokens), width))
        model.lm_head.weight.copy_(torch.eye(len(tokens), width).roll(1, dims=0))
    model.generation_config = GenerationConfig(**ends)
    model.save_pretrained(folder)
    return folder
