"""A GGUF as a Hugging Face checkpoint of f32, by gguf-py and numpy alone."""

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
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "block_sparse_moe.router.layer",
    "ffn_down_exps": "block_sparse_moe.output_linear", "ffn_down_shexp": "shared_mlp.output_linear",
    "ssm_in": "mamba.in_proj", "ssm_out": "mamba.out_proj", "ssm_conv1d": "mamba.conv1d", "ssm_norm": "mamba.norm",
}
# What a family names otherwise.
NAMES = {
    "gemma2": {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
               "post_ffw_norm": "post_feedforward_layernorm"},
    "granitemoehybrid": {"ffn_down": "shared_mlp.output_linear"},
}
# Gate and up that published weights have in one, with the axis on which they follow each other.
JOINED = {"_exps": ("block_sparse_moe.input_linear", 1), "_shexp": ("shared_mlp.input_linear", 0)}
JOINED_BY_FAMILY = {"granitemoehybrid": {"": ("shared_mlp.input_linear", 0)}}
# Whose rotation llama.cpp pairs by neighbours.
BY_NEIGHBOURS = {"llama", "mistral", "granite", "granitemoe", "granitemoehybrid"}


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


class Published:
    """The same values under the published names."""

    def __init__(self, config):
        self.kind, self.out = config["model_type"], {}
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.names = LAYER | NAMES.get(self.kind, {})
        self.joined = JOINED | JOINED_BY_FAMILY.get(self.kind, {})

    def put(self, name, values):
        self.out[name] = np.ascontiguousarray(values)

    def of(self, tensors):
        values = {name: values for name, (_, values) in tensors.items()}
        for name in tensors:
            layer, stem, part = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)(?:\.(weight|bias))?", name).groups()
            if stem == "attn_qkv":
                size = values[name].shape[0] // (self.heads + 2 * self.kv_heads)
                cuts = np.cumsum([self.heads, self.kv_heads]) * size
                for of, rows in zip(("attn_q", "attn_k", "attn_v"), np.split(values[name], cuts)):
                    self.add(layer, of, part, rows)
            elif glu := re.fullmatch(r"ffn_(gate|up)(_exps|_shexp|)", stem) if layer else None:
                self.add_glu(values, name, layer, *glu.groups())
            elif stem != "rope_freqs":
                self.add(layer, stem, part, values[name])
        return self.out

    def add_glu(self, values, name, layer, which, suffix):
        if suffix not in self.joined:
            self.add(layer, f"ffn_{which}", "weight", values[name])
        elif which == "gate":
            module, axis = self.joined[suffix]
            both = [values[name], values[name.replace("ffn_gate", "ffn_up")]]
            self.put(f"model.layers.{layer}.{module}.weight", np.concatenate(both, axis))

    def add(self, layer, stem, part, values):
        if stem in ("attn_q", "attn_k") and self.kind in BY_NEIGHBOURS:
            values = by_halves(values, self.heads if stem == "attn_q" else self.kv_heads)
        if self.kind == "gemma2" and stem.endswith("norm"):
            values = values - np.float32(1)
        mamba = {
            "ssm_a": lambda: ("mamba.A_log", np.log(-values.astype(np.float64)).astype(np.float32).reshape(-1)),
            "ssm_d": lambda: ("mamba.D", values.reshape(-1)),
            "ssm_dt": lambda: ("mamba.dt_bias", values),
        }
        if stem in mamba:
            name, values = mamba[stem]()
            return self.put(f"model.layers.{layer}.{name}", values)
        if stem == "ssm_norm":
            values = values.reshape(-1)
        if stem == "ssm_conv1d" and part == "weight":
            values = values[:, None, :]
        module = f"model.layers.{layer}.{self.names[stem]}" if layer is not None else TOP[stem]
        self.put(f"{module}.{part}", values)


def rope(config, tensors, factor):
    """The rotation in the one spelling that takes a GGUF's own divisors, which another program may have rounded
    otherwise, and an attention factor."""
    parameters = config.get("rope_parameters") or {"rope_theta": config["rope_theta"]}
    _, divisors = tensors.get("rope_freqs.weight", (None, np.ones(config["head_dim"] // 2)))
    scaling = {"rope_type": "longrope", "short_factor": divisors.tolist(), "long_factor": divisors.tolist()}
    return {"rope_theta": parameters["rope_theta"], "rope_scaling": scaling | {"attention_factor": factor}}


def write(first, checkpoint, out):
    """Writes the values of a GGUF that was made of `checkpoint` beside that one's configuration and tokenizer; gives
    the stored types."""
    out.mkdir(parents=True)
    config = json.loads((checkpoint / "config.json").read_text())
    fields, tensors = read(first)
    weights = Published(config).of(tensors)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    config |= {"tie_word_embeddings": "lm_head.weight" not in weights}
    factor = fields.get(gguf_corpus.ATTENTION_FACTOR)
    if factor or "rope_freqs.weight" in tensors:
        config |= rope(config, tensors, factor.contents() if factor else 1.0)
        config.pop("rope_parameters", None)
    (out / "config.json").write_text(json.dumps(config))
    for path in checkpoint.glob("*.json"):
        if not (out / path.name).exists() and not path.name.endswith(".index.json"):
            shutil.copy(path, out)
    for path in checkpoint.glob("*.jinja"):
        shutil.copy(path, out)
    return sorted({kind for kind, values in tensors.values() if values.ndim > 1})
