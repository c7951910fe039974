#!/usr/bin/env python3
"""Writes the golden files beside this script from llama.cpp's own C code.

usage: make.py PATH/TO/libggml-base.so    (needs numpy)

The library must be a stock x86-64 build (no -march=native): its quantizers then hold neither FMA nor AVX, and their bytes
are the ones that everybody's `llama-quantize` writes. The same library gives the same files, byte for byte.
"""

import ctypes
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
SEED = 20

# type: (values in a block, bytes of a block, offsets of its f16 numbers, C function)
DECODE = {
    "f16": (1, 2, [], "ggml_fp16_to_fp32_row"),
    "bf16": (1, 2, [], "ggml_bf16_to_fp32_row"),
    "q4_0": (32, 18, [0], "dequantize_row_q4_0"),
    "q4_1": (32, 20, [0, 2], "dequantize_row_q4_1"),
    "q5_0": (32, 22, [0], "dequantize_row_q5_0"),
    "q5_1": (32, 24, [0, 2], "dequantize_row_q5_1"),
    "q8_0": (32, 34, [0], "dequantize_row_q8_0"),
    "q2_k": (256, 84, [80, 82], "dequantize_row_q2_K"),
    "q3_k": (256, 110, [108], "dequantize_row_q3_K"),
    "q4_k": (256, 144, [0, 2], "dequantize_row_q4_K"),
    "q5_k": (256, 176, [0, 2], "dequantize_row_q5_K"),
    "q6_k": (256, 210, [208], "dequantize_row_q6_K"),
    "iq4_nl": (32, 18, [0], "dequantize_row_iq4_nl"),
    "iq4_xs": (256, 136, [0], "dequantize_row_iq4_xs"),
}
ENCODE = {
    "f16": (1, 2, "ggml_fp32_to_fp16_row"),
    "bf16": (1, 2, "ggml_fp32_to_bf16_row_ref"),
    "q4_0": (32, 18, "quantize_row_q4_0_ref"),
    "q4_1": (32, 20, "quantize_row_q4_1_ref"),
    "q8_0": (32, 34, "quantize_row_q8_0_ref"),
}
# Scales that a block may have: usual ones, zeros, subnormals, the largest, infinity, NaN.
EDGE_HALVES = np.array([0x2A00, 0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x7C00, 0x7E01], "<u2")


def call(library, function, source, out_bytes, count):
    out = ctypes.create_string_buffer(out_bytes)
    getattr(library, function)(ctypes.c_char_p(source), out, ctypes.c_int64(count))
    return out.raw


def random_blocks(rng, len_, size, halves):
    """Random bytes with weight-like scales, then one block for each edge scale."""
    usual, edges = (3, len(EDGE_HALVES)) if len_ == 256 else (16, 2 * len(EDGE_HALVES))
    blocks = rng.integers(0, 256, (usual + edges, size), dtype=np.uint8)
    for at in halves:
        scales = rng.normal(0, 0.02, usual + edges).astype("<f2")
        edge_scales = np.resize(EDGE_HALVES, edges)
        # Two f16 numbers of one block meet in different pairs.
        scales[usual:] = np.roll(edge_scales, at).view("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def float_bits(rng):
    """Every kind of 16-bit float: all exponents with both signs, edge mantissas, NaNs."""
    edges = [sign | exponent << 7 | mantissa for sign in (0, 0x8000) for exponent in range(256) for mantissa in (0, 1)]
    return np.concatenate([np.array(edges, "<u2"), rng.integers(0, 65536, 256).astype("<u2")]).tobytes()


def float_values(rng):
    """Values for f16 and bf16: subnormals, ties, largest numbers that don't overflow, infinities, NaNs with payloads."""
    numbers = [0.0, -0.0, 1.0, 65504.0, -65504.0, 65519.996, 6.1e-5, 8.94e-8, 5.96e-8, 2.98e-8, 2.9802322e-8, 1e-45]
    special = np.array([*numbers, np.inf, -np.inf], "<f4").view("<u4")
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF812345, 0x7FFFFFFF], "<u4")
    # Exponents that f16 holds, with mantissas on and beside the ties of both formats.
    mantissas = (0x1000, 0x3000, 0x1001, 0x2FFF, 0x8000, 0x18000, 0x18001)
    ties = np.array([exponent << 23 | mantissa for exponent in range(90, 142) for mantissa in mantissas], "<u4")
    random = np.concatenate([rng.normal(0, 1e-6, 128), rng.normal(0, 0.05, 256)]).astype("<f4").view("<u4")
    # Joined as integers: numpy's float conversions would make signalling NaNs quiet.
    return np.concatenate([special, nans, ties, random]).view("<f4")


def block_values(rng):
    """Blocks of 32 for the quantizers."""
    ramp = np.arange(32, dtype="<f4")
    blocks = [
        np.zeros(32),
        -np.zeros(32),
        np.where(ramp % 2 == 0, 0.0, -0.0),
        np.where(ramp % 2 == 0, -0.0, 0.0),
        np.where(ramp < 5, -0.0, ramp),
        np.full(32, 0.75),
        np.full(32, -1.0 / 3.0),
        # Ties of 8-bit, 4-bit and offset rounding.
        np.concatenate([[127.0], ramp[1:] - 15.5]),
        np.concatenate([[-8.0], ramp[1:] / 4 - 4.0]),
        np.concatenate([[-15.0, 15.0], ramp[2:] - 14.0]),
        np.concatenate([[8.0, -8.0], ramp[2:] / 2 - 8.25]),
        np.concatenate([[-8.0, 8.0], ramp[2:] / 2 - 8.25]),
        # One outlier; the largest magnitudes whose scales f16 holds.
        np.concatenate([rng.normal(0, 1e-3, 31), [100.0]]),
        np.concatenate([[65504.0, -65504.0], rng.normal(0, 2e4, 30)]),
        # Scales that are f16 subnormals or vanish; f32 subnormals, where a reciprocal is infinite.
        rng.normal(0, 1e-5, 32),
        rng.normal(0, 1e-8, 32),
        rng.normal(0, 1e-30, 32),
        rng.normal(0, 1e-37, 32),
        rng.normal(0, 3e-38, 32),
        rng.normal(0, 1e-39, 32),
        np.where(ramp < 16, 0.0, 1e-39),
        np.where(ramp < 31, 0.0, -1e-45),
        np.full(32, 1e-40),
    ]
    weights = [rng.normal(0, sigma, 32) for sigma in np.geomspace(1e-3, 10, 24)]
    short = [np.round(rng.normal(0, 4, 32)) / 4 for _ in range(8)]
    return np.concatenate(blocks + weights + short).astype("<f4")


def write(name, data):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def main():
    library = ctypes.CDLL(sys.argv[1])
    for at, (name, (len_, size, halves, function)) in enumerate(DECODE.items()):
        rng = np.random.default_rng([SEED, at])
        blocks = random_blocks(rng, len_, size, halves) if len_ > 1 else float_bits(rng)
        count = len(blocks) // size * len_
        write(f"decode/{name}.blocks", blocks)
        write(f"decode/{name}.values", call(library, function, blocks, 4 * count, count))
    rng = np.random.default_rng([SEED, 100])
    floats, blocks = float_values(rng), block_values(rng)
    write("encode/floats.values", floats.tobytes())
    write("encode/blocks.values", blocks.tobytes())
    for name, (len_, size, function) in ENCODE.items():
        values = floats if len_ == 1 else blocks
        write(f"encode/{name}.blocks", call(library, function, values.tobytes(), len(values) // len_ * size, len(values)))


if __name__ == "__main__":
    main()
