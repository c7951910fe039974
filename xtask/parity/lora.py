#!/usr/bin/env python3
"""Holds our GGUF LoRA against the one that llama.cpp's own converter makes of the same adapter.

  lora.py LLAMA_CPP_PYTHON BASE CHECKPOINT ADAPTER OURS REFERENCE WORK

LLAMA_CPP_PYTHON is an unpacked llama-cpp-python with a built llama.cpp in vendor/, BASE a quantized GGUF and CHECKPOINT
the same model as a Hugging Face directory, ADAPTER a PEFT directory and OURS its GGUF LoRA, REFERENCE our logits of base
and adapter. Both files run in llama.cpp beside BASE: ours may be at most 1.02 × as far from REFERENCE as theirs.
"""

import ctypes
import json
import os
import pathlib
import subprocess
import sys
import types

import gguf
import numpy as np

BINDINGS = pathlib.Path(sys.argv[1])
LLAMA_CPP = BINDINGS / "vendor/llama.cpp"
os.environ.setdefault("LLAMA_CPP_LIB_PATH", str(LLAMA_CPP / "build/bin"))
sys.path.insert(0, str(BINDINGS))
sys.modules["diskcache"] = types.ModuleType("diskcache")

import llama_cpp.llama_cpp as llama  # noqa: E402

F32 = 0
MOST = 1.02


@llama.llama_log_callback
def quiet(level, text, user_data):
    pass


def theirs(checkpoint, adapter, out):
    script = LLAMA_CPP / "convert_lora_to_gguf.py"
    command = [sys.executable, script, "--base", checkpoint, "--outfile", out, "--outtype", "f32", adapter]
    subprocess.run(command, check=True, capture_output=True)
    return out


def difference(ours, theirs):
    """What is not equal in two GGUF LoRAs, as lines."""
    a, b = ({t.name: t for t in reader.tensors} for reader in (ours, theirs))
    for name in sorted(a.keys() ^ b.keys()):
        yield f"tensor {name} is only {'ours' if name in a else 'theirs'}"
    for name in sorted(a.keys() & b.keys()):
        if not np.array_equal(a[name].data, b[name].data):
            yield f"tensor {name} differs"
    for key in ("general.type", "general.architecture", "adapter.type", "adapter.lora.alpha"):
        x, y = (reader.fields[key].contents() for reader in (ours, theirs))
        if x != y:
            yield f"key {key}: {x}, theirs {y}"


def windows(reference):
    """Token ids and our logits, window by window."""
    tokens = json.loads((reference / "tokens.json").read_text())
    rows = np.memmap(reference / "logits.f32", "<f4", "r").reshape(-1, tokens["vocab_size"])
    start = 0
    for ids in tokens["windows"]:
        yield ids, rows[start : start + len(ids)]
        start += len(ids)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def divergence(base, lora, reference):
    """Σ p·log(p/q) a token, p ours and q llama.cpp's, and the number of tokens."""
    parameters = llama.llama_model_default_params()
    parameters.use_extra_bufts = False
    model = llama.llama_model_load_from_file(str(base).encode(), parameters)
    adapter = llama.llama_adapter_lora_init(model, str(lora).encode())
    assert model and adapter, (base, lora)
    longest = max(len(ids) for ids, _ in windows(reference))
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = longest
    parameters.n_threads = parameters.n_threads_batch = len(os.sched_getaffinity(0))
    parameters.type_k = parameters.type_v = F32
    parameters.flash_attn_type = 0
    context = llama.llama_init_from_model(model, parameters)
    adapters, scales = (llama.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
    assert context and llama.llama_set_adapters_lora(context, adapters, 1, scales) == 0
    total, count = 0.0, 0
    for ids, want in windows(reference):
        p, q = log_softmax(want), log_softmax(decode(context, ids, want.shape[1]))
        total, count = total + float((np.exp(p) * (p - q)).sum()), count + len(ids)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return total / count, count


def decode(context, ids, vocab_size):
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for at, token in enumerate(ids):
        batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
        batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
    assert llama.llama_decode(context, batch) == 0
    logits = np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(len(ids), vocab_size)).copy()
    llama.llama_batch_free(batch)
    return logits


def main():
    base, checkpoint, adapter, ours, reference, work = map(pathlib.Path, sys.argv[2:])
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    work.mkdir(parents=True, exist_ok=True)
    made = theirs(checkpoint, adapter, work / "theirs-lora.gguf")
    lines = list(difference(gguf.GGUFReader(ours), gguf.GGUFReader(made)))
    print(f"GGUF LoRA: {'equal to the byte' if not lines else f'{len(lines)} differences'}")
    for line in lines[:20]:
        print(f"  {line}")
    (own, tokens), (other, _) = (divergence(base, lora, reference) for lora in (ours, made))
    print(f"GGUF LoRA beside {base.name}, {tokens} tokens: KL {own:.6e}, llama.cpp's own {other:.6e}, {own / other:.4f} ×")
    assert tokens >= 4096
    sys.exit(own > MOST * other)


if __name__ == "__main__":
    main()
