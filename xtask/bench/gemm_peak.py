#!/usr/bin/env python3
"""What PyTorch's matrix product reaches on this machine, to divide training figures by.

Prints one JSON object: the CPU's name, the threads, and the best GFLOP/s in f32 and bf16 over the products of SmolLM2's
layers and of larger ones.
"""

import json
import re
import time

import torch

SHAPES = [(1024, 576, 1536), (1024, 1536, 576), (1024, 576, 49152), (512, 3584, 14336)]  # tokens, in, out
REPEATS = 6


def gflops(dtype, tokens, inputs, outputs):
    x, w = torch.randn(tokens, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        x @ w.T
        best = min(best, time.perf_counter() - start)
    return 2e-9 * tokens * inputs * outputs / best


def main():
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        name = re.search(r"model name\s*:\s*(.*)", cpuinfo.read())
    print(json.dumps({
        "cpu": name.group(1) if name else "unknown",
        "threads": torch.get_num_threads(),
        "f32": max(gflops(torch.float32, *shape) for shape in SHAPES),
        "bf16": max(gflops(torch.bfloat16, *shape) for shape in SHAPES),
    }))


if __name__ == "__main__":
    main()
