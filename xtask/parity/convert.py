#!/usr/bin/env python3
"""Converts a checkpoint with llama.cpp's own tools and holds our files against theirs.

  convert.py LLAMA_CPP CHECKPOINT WORK TYPE=OURS.gguf…

LLAMA_CPP is a source tree with a built `llama-quantize`; `f32` comes first. Tensors must be equal to the byte, computed
ones within 2 units in the last place, and metadata but for the keys below. What `llama-quantize` makes of our f32 file
must be our quantized file, byte for byte. Their files go to WORK. Ends with 1 where something differs.
"""

import collections
import concurrent.futures
import filecmp
import pathlib
import subprocess
import sys

import numpy as np
from gguf_file import Gguf

# Keys that differ, and why.
NAMES = "ours come from the pipeline, theirs from the directory, whose name they also take apart"
OURS = {"general.name": NAMES, "general.basename": NAMES, "general.finetune": NAMES}
# Computed in f32 from the configuration, or by another `exp`.
COMPUTED, ULPS = ("rope_freqs.weight", ".ssm_a"), 2
QUANTIZED = {"q4_0", "q4_1"}


class Tools:
    def __init__(self, llama_cpp, work):
        self.llama_cpp, self.work = llama_cpp, work

    def run(self, *command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}")

    def convert(self, checkpoint, kind):
        out = self.work / f"{kind}.gguf"
        converter = self.llama_cpp / "convert_hf_to_gguf.py"
        self.run(sys.executable, converter, checkpoint, "--outfile", out, "--outtype", kind)
        return out

    def convert_all(self, checkpoint, kinds):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return dict(zip(kinds, pool.map(lambda kind: self.convert(checkpoint, kind), kinds)))

    def quantize(self, source, name, kind):
        """Left to itself it gives the head Q6_K, which we do not."""
        out = self.work / name
        self.run(self.llama_cpp / "build/bin/llama-quantize", "--output-tensor-type", "q8_0", source, out, kind)
        return out

    def in_their_order(self, source, name):
        """The same file with the tensors ordered as `llama-quantize` orders them."""
        out = self.work / name
        self.run(self.llama_cpp / "build/bin/llama-quantize", source, out, "copy")
        return out


def ulps(a, b):
    return np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32))


def without_ones(shape):
    """`llama-quantize` drops outermost dimensions of one, which the converter writes and we do."""
    return shape[next((at for at, size in enumerate(shape) if size != 1), len(shape)) :]


def tensors_apart(ours, theirs, same_shape, computed):
    """What is not equal, as lines; distances of computed values go to `computed`."""
    a, b = ours.tensors, theirs.tensors
    for name in sorted(a.keys() ^ b.keys()):
        yield f"tensor {name} is only {'ours' if name in a else 'theirs'}"
    for name in sorted(a.keys() & b.keys()):
        x, y = a[name], b[name]
        if x.kind != y.kind or same_shape(x.shape) != same_shape(y.shape):
            yield f"tensor {name}: {x.kind.name} {list(x.shape)}, theirs {y.kind.name} {list(y.shape)}"
        elif name.endswith(COMPUTED):
            distances = ulps(x.f32(), y.f32())
            computed[name.rsplit(".", 1)[-1] if name.endswith(".ssm_a") else name] += collections.Counter(distances.tolist())
            if distances.max() > ULPS:
                yield f"tensor {name}: {distances.max()} units in the last place apart"
        elif not np.array_equal(x.data, y.data):
            yield f"tensor {name}: bytes differ"


def keys_apart(ours, theirs):
    """The same of metadata; types count."""
    def shown(file, key):
        return str(file.contents(key))[:80] if key in file.values else "none"

    for key in sorted(ours.values.keys() | theirs.values.keys()):
        if ours.values.get(key) != theirs.values.get(key):
            yield key, f"{shown(ours, key)}, theirs {shown(theirs, key)}"


def within(counts):
    """Distances in words: how many values are how far apart."""
    apart = [f"{count} by {distance}" for distance, count in sorted(counts.items()) if distance]
    return f"{sum(counts.values())} values" + (f", {', '.join(apart)} ulp apart" if apart else " equal")


def compare(ours, theirs, same_shape=tuple):
    """Says what is equal; gives what is not."""
    ours, theirs, computed = Gguf(ours), Gguf(theirs), collections.defaultdict(collections.Counter)
    lines, named = list(tensors_apart(ours, theirs, same_shape, computed)), []
    for key, values in keys_apart(ours, theirs):
        if key in OURS:
            named.append(key)
        else:
            lines.append(f"key {key}: {values}")
    said = [f"{name} {within(counts)}" for name, counts in computed.items()]
    if named:
        said.append("but for " + ", ".join(named))
    kinds = collections.Counter(tensor.kind.name for tensor in ours.tensors.values())
    kinds = " ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return lines, ", ".join([f"{len(ours.tensors)} tensors ({kinds}) and {len(ours.values)} keys", *said])


def main():
    llama_cpp, checkpoint, work = (pathlib.Path(argument) for argument in sys.argv[1:4])
    files = dict(argument.split("=", 1) for argument in sys.argv[4:])
    work.mkdir(parents=True, exist_ok=True)
    tools, failed = Tools(llama_cpp, work), False
    theirs = tools.convert_all(checkpoint, [kind for kind in files if kind not in QUANTIZED])
    for kind, ours in files.items():
        if kind in QUANTIZED:
            quantized = tools.quantize(theirs["f32"], f"{kind}.gguf", kind)
            lines, said = compare(ours, quantized, without_ones)
            of_ours = tools.quantize(files["f32"], f"{kind}-of-ours.gguf", kind)
            if filecmp.cmp(tools.in_their_order(ours, f"{kind}-ours.gguf"), of_ours, shallow=False):
                said += f"; the whole file, {of_ours.stat().st_size} bytes, is theirs of our f32"
            else:
                lines.append("the file is not what `llama-quantize` makes of our f32")
        else:
            lines, said = compare(ours, theirs[kind])
        print(f"{kind}: {f'{len(lines)} differences in ' if lines else 'equal: '}{said}", flush=True)
        for line in lines[:20]:
            print(f"  {line}", flush=True)
        failed |= bool(lines)
    sys.exit(failed)


if __name__ == "__main__":
    main()
