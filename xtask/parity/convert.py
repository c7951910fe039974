#!/usr/bin/env python3
"""Converts a checkpoint with llama.cpp's own tools and holds our files against theirs.

  convert.py LLAMA_CPP CHECKPOINT WORK TYPE=OURS.gguf…

LLAMA_CPP is a source tree with a built `llama-quantize`; `f32` comes first. Tensors must be equal to the byte, computed
ones within 2 units in the last place, and metadata but for the keys below. What `llama-quantize` makes of our f32 file
must be our quantized file, byte for byte. Their files go to WORK. Ends with 1 where something differs.
"""

import filecmp
import pathlib
import subprocess
import sys

import gguf
import numpy as np

# Ours: names come from the pipeline, theirs from the directory, whose name they also take apart.
OURS = {"general.name", "general.basename", "general.finetune"}
# Computed from the configuration, in f32.
COMPUTED, ULPS = {"rope_freqs.weight"}, 2
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
    return int(np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32)).max())


def tensors_apart(ours, theirs):
    """What is not equal, as lines."""
    a, b = ({t.name: t for t in reader.tensors} for reader in (ours, theirs))
    for name in sorted(a.keys() ^ b.keys()):
        yield f"tensor {name} is only {'ours' if name in a else 'theirs'}"
    for name in sorted(a.keys() & b.keys()):
        x, y = a[name], b[name]
        if x.tensor_type != y.tensor_type or list(x.shape) != list(y.shape):
            yield f"tensor {name}: {x.tensor_type.name} {list(x.shape)}, theirs {y.tensor_type.name} {list(y.shape)}"
        elif name in COMPUTED:
            if ulps(x.data, y.data) > ULPS:
                yield f"tensor {name}: {ulps(x.data, y.data)} units in the last place apart"
        elif not np.array_equal(x.data.view(np.uint8), y.data.view(np.uint8)):
            yield f"tensor {name}: bytes differ"


def keys_apart(ours, theirs):
    """The same of metadata; types count."""
    def values(reader):
        fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        return {key: (field.types, field.contents()) for key, field in fields.items()}

    a, b = values(ours), values(theirs)
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield key, f"{str(a.get(key))[:80]}, theirs {str(b.get(key))[:80]}"


def compare(ours, theirs):
    """Says what is equal; gives what is not."""
    ours, theirs = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    lines, named = list(tensors_apart(ours, theirs)), []
    for key, values in keys_apart(ours, theirs):
        if key in OURS:
            named.append(key)
        else:
            lines.append(f"key {key}: {values}")
    computed = [(x, y) for x in ours.tensors for y in theirs.tensors if x.name == y.name and x.name in COMPUTED]
    said = [f"{x.name} within {ulps(x.data, y.data)} ulp" for x, y in computed]
    if named:
        said.append("but for " + ", ".join(named))
    keys = sum(not key.startswith("GGUF.") for key in ours.fields)
    return lines, ", ".join([f"{len(ours.tensors)} tensors and {keys} keys", *said])


def main():
    llama_cpp, checkpoint, work = (pathlib.Path(argument) for argument in sys.argv[1:4])
    files = dict(argument.split("=", 1) for argument in sys.argv[4:])
    work.mkdir(parents=True, exist_ok=True)
    tools, failed = Tools(llama_cpp, work), False
    for kind, ours in files.items():
        if kind in QUANTIZED:
            lines, said = compare(ours, tools.quantize(work / "f32.gguf", f"{kind}.gguf", kind))
            theirs = tools.quantize(files["f32"], f"{kind}-of-ours.gguf", kind)
            if filecmp.cmp(tools.in_their_order(ours, f"{kind}-ours.gguf"), theirs, shallow=False):
                said += f"; the whole file, {theirs.stat().st_size} bytes, is theirs of our f32"
            else:
                lines.append("the file is not what `llama-quantize` makes of our f32")
        else:
            lines, said = compare(ours, tools.convert(checkpoint, kind))
        print(f"{kind}: {f'{len(lines)} differences in ' if lines else 'equal: '}{said}", flush=True)
        for line in lines[:20]:
            print(f"  {line}", flush=True)
        failed |= bool(lines)
    sys.exit(failed)


if __name__ == "__main__":
    main()
