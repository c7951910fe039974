"""A small random model of every kind in `tests/data/families`, with rows of whole K-quant blocks and a vocabulary that
llama.cpp's converter knows; and its other spellings."""

import importlib.util
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).parents[2]
# The converter reads a Gemma's vocabulary from SentencePiece's file alone, and transformers gives every Qwen 2 a
# pre-tokenizer that it has no name for here.
SENTENCEPIECE = {"gemma2": "gemma-like", "mistral": "mistral-cut", "qwen2": "mistral-cut"}
# Eight experts, for `llama-quantize` has rules for this number alone.
SIZES = dict(hidden_size=256, intermediate_size=512, num_attention_heads=8, num_key_value_heads=4, head_dim=32,
             query_pre_attn_scalar=32, mamba_n_heads=16, mamba_d_head=32, mamba_d_state=32, num_local_experts=8,
             shared_intermediate_size=512, max_position_embeddings=2048, vocab_size=49152,
             # What a GGUF cannot say.
             sliding_window=None)


def sources():
    """`tests/data/families/make.py`: what the kinds are."""
    spec = importlib.util.spec_from_file_location("families", ROOT / "tests/data/families/make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAMILIES = sources()
NAMES = list(FAMILIES.FAMILIES)


def configuration(name, vocab_size):
    kind, keys = FAMILIES.FAMILIES[name]
    sizes = {key: SIZES[key] for key in keys if key in SIZES and keys[key] not in (0, None)}
    keys = keys | sizes | dict(vocab_size=vocab_size, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    if name == "gemma2":
        keys["sliding_window"] = 32
    if name == "granite4-h-moe":
        keys["intermediate_size"] = 256
    return kind, keys


def make(name, tokenizer, out):
    """Writes the model as published; `config.v5.json` beside it is what transformers 5 wrote."""
    if name in SENTENCEPIECE:
        tokenizer = ROOT / "crates/tokenizer/tests/golden" / SENTENCEPIECE[name]
    size = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    torch.manual_seed(sum(name.encode()))
    config = FAMILIES.configuration(*configuration(name, size))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        FAMILIES.weights(model)
    model.to(torch.bfloat16).save_pretrained(out)
    saved = out / "config.json"
    saved.rename(out / "config.v5.json")
    published = FAMILIES.published(json.loads((out / "config.v5.json").read_text()))
    saved.write_text(json.dumps(published, indent=1, sort_keys=True) + "\n")
    for path in tokenizer.iterdir():
        if path.name not in ("config.json", "generation_config.json") and not path.name.startswith("model"):
            shutil.copyfile(path, out / path.name)
    # Of any other class transformers makes another pre-tokenizer, by the kind of the model.
    of_tokenizer = out / "tokenizer_config.json"
    said = json.loads(of_tokenizer.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    of_tokenizer.write_text(json.dumps(said, indent=1))
    return out


def in_v5(model, out):
    """As transformers 5 saves it."""
    shutil.copytree(model, out)
    (out / "config.v5.json").rename(out / "config.json")
    return out


def in_mlx(model, out):
    """As mlx-lm saves it; `None` where that is no other spelling."""
    tensors = load_file(model / "model.safetensors")
    if not any("shared_mlp" in name or "block_sparse_moe" in name for name in tensors):
        return None
    experts = any("block_sparse_moe" in name for name in tensors)
    spelled = {}
    for name, values in tensors.items():
        if name.endswith("conv1d.weight"):
            spelled[name] = values.movedim(2, 1)
        elif name.endswith("block_sparse_moe.input_linear.weight"):
            for part, rows in zip(("gate", "up"), values.chunk(2, 1)):
                spelled[name.replace("input_linear", f"switch_mlp.{part}_proj")] = rows
        elif name.endswith("block_sparse_moe.output_linear.weight"):
            spelled[name.replace("output_linear", "switch_mlp.down_proj")] = values
        elif name.endswith("shared_mlp.input_linear.weight") and not experts:
            for part, rows in zip(("gate", "up"), values.chunk(2)):
                spelled[name.replace("shared_mlp.input_linear", f"mlp.{part}_proj")] = rows
        elif name.endswith("shared_mlp.output_linear.weight") and not experts:
            spelled[name.replace("shared_mlp.output_linear", "mlp.down_proj")] = values
        else:
            spelled[name] = values
    shutil.copytree(model, out)
    save_file({name: values.contiguous() for name, values in spelled.items()}, out / "model.safetensors", {"format": "pt"})
    return out
