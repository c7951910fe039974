#!/usr/bin/env python3
"""Makes tiny random models that mlx-lm quantized beside this file, with what transformers and numpy make of them.

  make.py [NAME…]

Each directory is what `mlx_lm.convert(…, quantize=True)` wrote, but for its README, with two files more: `golden.safetensors`
has the ids of `text.txt` and the logits that transformers gives in f32 on the dequantized weights, `values.json` the
SHA-256 of every canonical tensor's f32 bytes, `scale · q + bias` as numpy computes it in f32. Integers are taken out of
their packing bit by bit here, not by mlx. Seen with mlx 0.32.4, mlx-lm 0.32.2, torch 2.15, transformers 5.23.
"""

import hashlib
import importlib.util
import json
import pathlib
import shutil
import sys
import tempfile

import mlx.core as mx
import mlx_lm
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families" / "make.py"
spec = importlib.util.spec_from_file_location("families", FAMILIES)
families = importlib.util.module_from_spec(spec)
spec.loader.exec_module(families)

TEXT = "gneiss & slate: 42 kg."
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2)
QWEN = families.FAMILIES["qwen2"][1] | SIZES
LLAMA = QWEN | dict(rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=False)
MAMBA = dict(mamba_n_heads=8, mamba_d_head=16, num_hidden_layers=2, layer_types=["mamba", "attention"],
             shared_intermediate_size=128)


def all_widths(path, module):
    """A width of its own for every kind of module, and one that is left alone."""
    kinds = dict(q_proj=2, k_proj=3, v_proj=4, o_proj=5, gate_proj=6, up_proj=8, down_proj=4)
    kind = path.split(".")[-1]
    if path == "model.layers.1.mlp.up_proj":
        return False
    return {"group_size": 32, "bits": kinds[kind]} if kind in kinds else True


def granite(name, **keys):
    kind, common = families.FAMILIES[name]
    return kind, common | SIZES | keys


# The configuration, then the type of scales, bits, the size of groups and a predicate.
MODELS = {
    "llama": (("llama", LLAMA), "bfloat16", 4, 64, None),
    "qwen2-2": (("qwen2", QWEN), "float16", 2, 32, None),
    "qwen2-3": (("qwen2", QWEN), "bfloat16", 3, 64, None),
    "qwen2-4": (("qwen2", QWEN), "float32", 4, 128, None),
    "qwen2-5": (("qwen2", QWEN), "bfloat16", 5, 32, None),
    "qwen2-6": (("qwen2", QWEN), "float16", 6, 64, None),
    "qwen2-8": (("qwen2", QWEN), "float32", 8, 64, None),
    "qwen2-mixed": (("qwen2", QWEN), "bfloat16", 4, 64, all_widths),
    "granite3-moe": (granite("granite3-moe", intermediate_size=64), "bfloat16", 4, 64, None),
    "granite4": (granite("granite4", **MAMBA | dict(layer_types=["attention"] * 2)), "bfloat16", 4, 32, None),
    "granite4-h": (granite("granite4-h", **MAMBA), "bfloat16", 4, 64, None),
    "granite4-h-moe": (granite("granite4-h-moe", **MAMBA | dict(intermediate_size=32, num_local_experts=4)),
                       "float16", 5, 32, None),
}


def original(out, kind, keys):
    """A random model as published."""
    keys = dict(keys)
    theta = keys.pop("rope_theta", None)
    if theta is not None:
        keys["rope_parameters"] = {"rope_theta": theta, "rope_type": "default"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **keys)).eval()
    with torch.no_grad():
        families.weights(model)
    model.to(torch.float32).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    saved = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(families.published(saved), indent=1, sort_keys=True) + "\n")
    return families.tokenizer(out)


def f32(tensor):
    return tensor.to(torch.float32).numpy()


def dequantized(codes, scales, biases, bits, group_size):
    """`scale · q + bias` in f32; integer `i` of a row begins at its bit `i · bits`."""
    raw = codes.numpy().view(np.uint8).reshape(*codes.shape[:-1], -1)
    binary = np.unpackbits(raw, axis=-1, bitorder="little")
    q = (binary.reshape(*codes.shape[:-1], -1, bits) * (1 << np.arange(bits))).sum(-1).astype(np.float32)
    q = q.reshape(*codes.shape[:-1], -1, group_size)
    values = f32(scales)[..., None] * q + f32(biases)[..., None]
    assert values.dtype == np.float32
    return values.reshape(*codes.shape[:-1], -1)


def values_of(out):
    """Every tensor of a quantized checkpoint in f32, under mlx-lm's names."""
    config = json.loads((out / "config.json").read_text())["quantization"]
    with safe_open(out / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    values = {}
    for name, tensor in stored.items():
        module, part = name.rsplit(".", 1)
        if part in ("scales", "biases"):
            continue
        if part == "weight" and f"{module}.scales" in stored:
            own = config.get(module, config)
            scales, biases = stored[f"{module}.scales"], stored[f"{module}.biases"]
            values[name] = dequantized(tensor, scales, biases, own["bits"], own["group_size"])
        else:
            values[name] = f32(tensor)
    return values


def canonical(values, kind):
    """mlx-lm's names and shapes undone."""
    experts = (".block_sparse_moe.switch_mlp.", ".block_sparse_moe.", 1)
    # So mlx-lm calls the network that every token goes through where there are no experts beside it.
    shared = (".mlp.", ".shared_mlp.", 0)
    renamed = [experts, shared] if kind == "granitemoehybrid" else [experts]
    made = {}
    for name, value in values.items():
        place = next((place for place in renamed if place[0] in name), None)
        if name.endswith("conv1d.weight"):
            made[name] = value.reshape(value.shape[0], 1, -1)
        elif place is None:
            made[name] = value
        elif "gate_proj" in name:
            both = np.concatenate([value, values[name.replace("gate_proj", "up_proj")]], axis=place[2])
            made[name.replace(place[0], place[1]).replace("gate_proj", "input_linear")] = both
        elif "down_proj" in name:
            made[name.replace(place[0], place[1]).replace("down_proj", "output_linear")] = value
    return {name: np.ascontiguousarray(value) for name, value in sorted(made.items())}


def golden(out, tokenizer, values):
    """transformers' logits on those values."""
    with tempfile.TemporaryDirectory() as temporary:
        plain = pathlib.Path(temporary)
        config = json.loads((out / "config.json").read_text())
        config.pop("quantization")
        config.pop("quantization_config")
        (plain / "config.json").write_text(json.dumps(config))
        save_file({name: torch.from_numpy(value) for name, value in values.items()}, plain / "model.safetensors",
                  metadata={"format": "pt"})
        model, info = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32, attn_implementation="eager",
                                                           output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        ids = torch.tensor([tokenizer.encode(TEXT, add_special_tokens=False).ids])
        with torch.no_grad():
            logits = model(input_ids=ids).logits
    save_file({"ids": ids[0].to(torch.int32), "logits": logits[0].contiguous()}, out / "golden.safetensors")
    return logits


def make(name, model, dtype, bits, group_size, predicate):
    kind, keys = model
    out = HERE / name
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(sum(name.encode()))
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = original(pathlib.Path(temporary), kind, keys)
        mlx_lm.convert(temporary, str(out), quantize=True, q_group_size=group_size, q_bits=bits, dtype=dtype,
                       quant_predicate=predicate)
    (out / "README.md").unlink(missing_ok=True)
    values = canonical(values_of(out), kind)
    digests = {tensor: hashlib.sha256(value.tobytes()).hexdigest() for tensor, value in values.items()}
    (out / "values.json").write_text(json.dumps(digests, indent=1) + "\n")
    logits = golden(out, tokenizer, values)
    print(f"{name}: {len(values)} tensors, logits' std {logits.std():.3f}", flush=True)


def main():
    mx.set_default_device(mx.cpu)
    torch.set_num_threads(2)
    (HERE / "text.txt").write_text(TEXT)
    for name in sys.argv[1:] or MODELS:
        make(name, *MODELS[name])


if __name__ == "__main__":
    main()
