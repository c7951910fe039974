#!/usr/bin/env python3
"""Golden values of a tiny Llama whose weights are computed from their names (src/tests/synthetic.rs has the same rule).

  make_golden.py OUT.safetensors      needs torch, transformers, peft, safetensors

Holds: input_ids; the rotation's divisors; logits of base and of base + adapter; the adapter's loss sum over weighted
tokens, and every gradient, by PEFT and torch's differentiation in f32."""
import sys

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, FFN, VOCAB, LAYERS, RANK, SCALE = 64, 96, 128, 3, 3, 0.5


def values(name, shape, amplitude):
    """amplitude · u, u uniform in [-1, 1): FNV-1a of the name, then SplitMix64 by index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    x = np.uint64(seed) + np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((x ^ (x >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return torch.from_numpy((unit * np.float32(amplitude)).reshape(shape))


def set_weights(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.copy_(values(name, parameter.shape, 0.5) + 1)
            else:
                parameter.copy_(values(name, parameter.shape, np.float32(2) / np.sqrt(np.float32(parameter.shape[1]))))


np.seterr(over="ignore")
torch.set_num_threads(1)
scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
config = LlamaConfig(
    vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=512,
    rope_parameters={"rope_theta": 10000.0, **scaling}, attn_implementation="eager")
model = LlamaForCausalLM(config).float().eval()
set_weights(model)
inv_freq = model.model.rotary_emb.inv_freq
plain = 1.0 / (10000.0 ** (torch.arange(0, 16, 2, dtype=torch.int64).float() / 16))

units = values("ids", (70,), 1.0)
ids = (((units + 1) / 2 * VOCAB).long()).clamp(max=VOCAB - 1)
weights = torch.tensor([0.0 if i % 3 == 0 else 1.0 for i in range(len(ids))])
golden = {"input_ids": ids.to(torch.int64), "rope_factors": plain / inv_freq}
with torch.no_grad():
    golden["logits"] = model(input_ids=ids[None]).logits[0]

model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK * SCALE, target_modules="all-linear"))
named = [(n.removeprefix("base_model.model.").removesuffix(".default.weight"), p) for n, p in model.named_parameters() if p.requires_grad]
with torch.no_grad():
    for name, parameter in named:
        parameter.copy_(values(name, parameter.shape, 0.3))
logits = model(input_ids=ids[None]).logits[0]
loss = (torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none") * weights[1:]).sum()
loss.backward()
golden["adapted_logits"] = logits.detach()
golden["loss_sum"] = loss.detach().reshape(1)
golden |= {f"gradient.{name}": parameter.grad for name, parameter in named}
save_file({name: tensor.contiguous().numpy() for name, tensor in golden.items()}, sys.argv[1])
print(f"loss {loss.item():.6f}, {len(named)} gradients")
