#!/usr/bin/env python3
"""Holds our GGUF LoRA against the one that llama.cpp's own converter makes of the same adapter.

  lora.py LLAMA_CPP_PYTHON BASE CHECKPOINT ADAPTER OURS REFERENCE WORK

LLAMA_CPP_PYTHON is an unpacked llama-cpp-python with a built llama.cpp in vendor/, BASE a quantized GGUF and CHECKPOINT
the same model as a Hugging Face directory, ADAPTER a PEFT directory and OURS its GGUF LoRA, REFERENCE our logits of base
and adapter. Both files run in llama.cpp beside BASE: ours may be at most 1.02 × as far from REFERENCE as theirs.
"""

import json
import pathlib
import subprocess
import sys

import gguf
import llama_runtime
import numpy as np

MOST = 1.02


def theirs(llama_cpp, checkpoint, adapter, out):
    script = llama_cpp / "convert_lora_to_gguf.py"
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


def divergence(runtime, base, lora, reference):
    """Σ p·log(p/q) a token, p ours and q llama.cpp's, and the number of tokens."""
    wanted = list(windows(reference))
    total, count = 0.0, 0
    for (ids, want), got in zip(wanted, runtime.logits(base, lora, [ids for ids, _ in wanted])):
        p, q = log_softmax(want), log_softmax(got)
        total, count = total + float((np.exp(p) * (p - q)).sum()), count + len(ids)
    return total / count, count


def main():
    bindings, base, checkpoint, adapter, ours, reference, work = map(pathlib.Path, sys.argv[1:])
    runtime = llama_runtime.load(bindings)
    work.mkdir(parents=True, exist_ok=True)
    made = theirs(bindings / "vendor/llama.cpp", checkpoint, adapter, work / "theirs-lora.gguf")
    lines = list(difference(gguf.GGUFReader(ours), gguf.GGUFReader(made)))
    print(f"GGUF LoRA: {'equal to the byte' if not lines else f'{len(lines)} differences'}")
    for line in lines[:20]:
        print(f"  {line}")
    (own, tokens), (other, _) = (divergence(runtime, base, lora, reference) for lora in (ours, made))
    print(f"GGUF LoRA beside {base.name}, {tokens} tokens: KL {own:.6e}, llama.cpp's own {other:.6e}, {own / other:.4f} ×")
    assert tokens >= 4096
    sys.exit(own > MOST * other)


if __name__ == "__main__":
    main()
