#!/usr/bin/env python3
"""Makes a small Llama of random weights with the tokenizer of a real one, to be converted by both sides.

  untied_llama.py TOKENIZER OUT      TOKENIZER is a Hugging Face directory

What SmolLM2 has not: a scaled RoPE with the numbers of Llama 3.2, a head of its own, heads wider than their share of the
hidden size, and f32 weights, which every other type has to round. Config as published checkpoints spell it.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 128, 320, 3, 4, 2, 64


def config(tokenizer):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": len(tokenizer), "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072, "rope_theta": 500000.0, "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3"},
        "tie_word_embeddings": False, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }


def weights(vocabulary):
    torch.manual_seed(0)
    yield "model.embed_tokens.weight", torch.randn(vocabulary, HIDDEN)
    for layer in range(LAYERS):
        shapes = {
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
            "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN),
        }
        for module, (rows, columns) in shapes.items():
            yield f"model.layers.{layer}.{module}.weight", torch.randn(rows, columns) / columns**0.5
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            yield f"model.layers.{layer}.{norm}.weight", 1 + 0.1 * torch.randn(HIDDEN)
    yield "model.norm.weight", 1 + 0.1 * torch.randn(HIDDEN)
    yield "lm_head.weight", torch.randn(vocabulary, HIDDEN) / HIDDEN**0.5


def main():
    source, out = (pathlib.Path(argument) for argument in sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)
    tokenizer = AutoTokenizer.from_pretrained(source)
    (out / "config.json").write_text(json.dumps(config(tokenizer), indent=2) + "\n", encoding="utf-8")
    save_file(dict(weights(len(tokenizer))), out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
