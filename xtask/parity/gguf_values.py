"""A Llama's GGUF as a Hugging Face checkpoint of f32, by gguf-py and numpy alone."""

import json
import re
import shutil

import gguf
import gguf_corpus
import numpy as np
from safetensors.numpy import save_file

TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def files(first):
    """The parts of a split file by the name of the first."""
    parts = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", first.name)
    if not parts:
        return [first]
    prefix, count = parts.groups()
    return [first.with_name(f"{prefix}-{number + 1:05}-of-{count}.gguf") for number in range(int(count))]


def read(first):
    """The fields of the first part, and every tensor as (type, values in f32) by its GGUF name."""
    readers, tensors = [gguf.GGUFReader(path) for path in files(first)], {}
    for reader in readers:
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            tensors[tensor.name] = (tensor.tensor_type.name.lower(), values.reshape([int(n) for n in reversed(tensor.shape)]))
    return readers[0].fields, tensors


def by_halves(rows, heads):
    """llama.cpp pairs neighbours of a head's rows, published weights its halves."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def published(tensors, heads, kv_heads):
    """The same values under the published names, in the published order."""
    out = {}

    def add(layer, stem, part, values):
        if stem in ("attn_q", "attn_k"):
            values = by_halves(values, heads if stem == "attn_q" else kv_heads)
        module = f"model.layers.{layer}.{LAYER[stem]}" if layer is not None else TOP[stem]
        out[f"{module}.{part}"] = np.ascontiguousarray(values)

    for name, (_, values) in tensors.items():
        layer, stem, part = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name).groups()
        if stem == "attn_qkv":
            size = values.shape[0] // (heads + 2 * kv_heads)
            for of, rows in zip(("attn_q", "attn_k", "attn_v"), np.split(values, np.cumsum([heads, kv_heads]) * size)):
                add(layer, of, part, rows)
        elif stem != "rope_freqs":
            add(layer, stem, part, values)
    return out


def rope(config, factors, attention_factor):
    """The rotation in the one spelling that has an attention factor."""
    factors = factors.tolist() if factors is not None else [1.0] * (config["head_dim"] // 2)
    parameters = config.pop("rope_parameters", None) or {"rope_theta": config["rope_theta"]}
    scaling = {"rope_type": "longrope", "short_factor": factors, "long_factor": factors}
    return {"rope_theta": parameters["rope_theta"], "rope_scaling": scaling | {"attention_factor": attention_factor}}


def write(first, checkpoint, out):
    """Writes the values of a GGUF that was made of `checkpoint` beside that one's configuration and tokenizer; gives
    the stored types."""
    out.mkdir(parents=True)
    config = json.loads((checkpoint / "config.json").read_text())
    fields, tensors = read(first)
    weights = published(tensors, config["num_attention_heads"], config["num_key_value_heads"])
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    config |= {"tie_word_embeddings": "lm_head.weight" not in weights}
    if factor := fields.get(gguf_corpus.ATTENTION_FACTOR):
        config |= rope(config, tensors.get("rope_freqs.weight", (None, None))[1], factor.contents())
    (out / "config.json").write_text(json.dumps(config))
    for path in checkpoint.glob("*.json"):
        if not (out / path.name).exists() and not path.name.endswith(".index.json"):
            shutil.copy(path, out)
    for path in checkpoint.glob("*.jinja"):
        shutil.copy(path, out)
    return sorted({kind for kind, values in tensors.values() if values.ndim > 1})
