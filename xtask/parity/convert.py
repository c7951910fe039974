#!/usr/bin/env python3
"""Converts a checkpoint with llama.cpp's own tools and holds our files against theirs.

  convert.py LLAMA_CPP CHECKPOINT WORK TYPE=OURS.gguf…

LLAMA_CPP is a source tree with a built `llama-quantize`. Tensors must be equal to the byte, metadata but for the keys
below. Their files go to WORK. Ends with 1 where something differs.
"""

import pathlib
import subprocess
import sys

import gguf
import numpy as np

# Ours: names come from the pipeline, never from a directory, and what it was made from is not guessed.
OURS = {"general.name", "general.basename", "general.finetune", "general.size_label", "general.type", "general.version",
        "general.quantization_version"}
# `llama-quantize` gives the head Q6_K; there it is told to do what we do.
QUANTIZED = {"q4_0", "q4_1"}


def theirs(llama_cpp, checkpoint, work, kind):
    out = work / f"{kind}.gguf"
    if kind in QUANTIZED:
        head = ["--output-tensor-type", "q8_0", "--token-embedding-type", "q8_0"]
        command = [llama_cpp / "build/bin/llama-quantize", *head, work / "f32.gguf", out, kind]
    else:
        converter = llama_cpp / "convert_hf_to_gguf.py"
        command = [sys.executable, converter, checkpoint, "--outfile", out, "--outtype", kind]
    subprocess.run(command, check=True, capture_output=True)
    return gguf.GGUFReader(out)


def difference(ours, theirs):
    """What is not equal, as lines."""
    a, b = ({t.name: t for t in reader.tensors} for reader in (ours, theirs))
    for name in sorted(a.keys() ^ b.keys()):
        yield f"tensor {name} is only {'ours' if name in a else 'theirs'}"
    for name in sorted(a.keys() & b.keys()):
        x, y = a[name], b[name]
        if x.tensor_type != y.tensor_type or list(x.shape) != list(y.shape):
            yield f"tensor {name}: {x.tensor_type.name} {list(x.shape)}, theirs {y.tensor_type.name} {list(y.shape)}"
        elif not np.array_equal(x.data.view(np.uint8), y.data.view(np.uint8)):
            yield f"tensor {name}: bytes differ"
    a, b = ({key: f.contents() for key, f in reader.fields.items()} for reader in (ours, theirs))
    for key in sorted((a.keys() | b.keys()) - OURS):
        if not key.startswith("GGUF.") and a.get(key) != b.get(key):
            yield f"key {key}: {str(a.get(key))[:80]}, theirs {str(b.get(key))[:80]}"


def main():
    llama_cpp, checkpoint, work = (pathlib.Path(argument) for argument in sys.argv[1:4])
    work.mkdir(parents=True, exist_ok=True)
    failed = False
    for kind, path in (argument.split("=", 1) for argument in sys.argv[4:]):
        ours = gguf.GGUFReader(path)
        lines = list(difference(ours, theirs(llama_cpp, checkpoint, work, kind)))
        print(f"{kind}: {len(ours.tensors)} tensors, {'equal' if not lines else f'{len(lines)} differences'}", flush=True)
        for line in lines[:20]:
            print(f"  {line}", flush=True)
        failed |= bool(lines)
    sys.exit(failed)


if __name__ == "__main__":
    main()
