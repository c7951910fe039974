"""GGUF files of every kind that people have, made of a Hugging Face checkpoint by llama.cpp's own tools."""

import dataclasses
import pathlib
import subprocess
import sys
import typing
from functools import partial

import gguf

# Types and the programs' names for them: those that the converter writes, and those that `llama-quantize` does.
CONVERTED = ["f32", "f16", "bf16"]
QUANTIZED = {
    "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1", "q8_0": "Q8_0", "q2_k": "Q2_K", "q3_k": "Q3_K_M",
    "q4_k": "Q4_K_M", "q5_k": "Q5_K_M", "q6_k": "Q6_K", "iq4_nl": "IQ4_NL", "iq4_xs": "IQ4_XS",
}
PRE = "tokenizer.ggml.pre"
ATTENTION_FACTOR = "llama.rope.scaling.attn_factor"
# What no llama.cpp reads, one key of each kind of value.
UNKNOWN_KEYS = {
    "llama.invented": (7, gguf.GGUFValueType.UINT32, None),
    "general.invented": ("a text", gguf.GGUFValueType.STRING, None),
    "invented.numbers": ([0.5, 2.0], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32),
    "invented.texts": (["a", "b"], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING),
    "invented.flag": (True, gguf.GGUFValueType.BOOL, None),
    "invented.double": (1e300, gguf.GGUFValueType.FLOAT64, None),
}


@dataclasses.dataclass
class Case:
    """A file to be made: `make` gives its path, of the first part where it is split."""

    name: str
    make: typing.Callable[[], pathlib.Path]
    # What `fetch` must say of it.
    says: str | None = None
    # The pre-tokenizer that must be named, for the file does not.
    pre: str | None = None


def tool(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def rewrite(source, out, drop=(), keys=None, tensors=None):
    """A copy of a GGUF without the keys `drop`, with more keys, and with more tensors: (array, type) by name."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    own = {"general.architecture"}
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in own | set(drop):
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for key, (value, kind, item) in (keys or {}).items():
        writer.add_key_value(key, value, kind, item)
    added = {t.name: (t.data, t.tensor_type) for t in reader.tensors} | (tensors or {})
    for name, (data, kind) in added.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


class Corpus:
    """What is made of one checkpoint, in the directory `work`."""

    def __init__(self, llama_cpp, checkpoint, work):
        self.llama_cpp, self.checkpoint, self.work = llama_cpp, checkpoint, work
        work.mkdir(parents=True, exist_ok=True)
        self.f32 = self.convert("base", "f32")

    def convert(self, name, kind, *options):
        out = self.work / f"{name}.gguf"
        converter = self.llama_cpp / "convert_hf_to_gguf.py"
        tool([sys.executable, converter, self.checkpoint, "--outfile", out, "--outtype", kind, *options])
        return out

    def quantize(self, source, name, kind, *options):
        out = self.work / f"{name}.gguf"
        tool([self.llama_cpp / "build/bin/llama-quantize", *options, source, out, kind])
        return out

    def in_parts(self):
        """The first part holds metadata alone."""
        self.convert("parts", "bf16", "--split-max-tensors", "5", "--no-tensor-first-split")
        return min(self.work.glob("parts-00001-of-*.gguf"))

    def in_quantized_parts(self):
        self.convert("parts", "f32", "--split-max-tensors", "5")
        first = min(self.work.glob("parts-00001-of-*.gguf"))
        self.quantize(first, "fewer-bits", "Q5_K_M", "--keep-split")
        return min(self.work.glob("fewer-bits-00001-of-*.gguf"))

    def of_version_2(self):
        path = self.quantize(self.f32, "version-2", "Q4_K_M")
        data = bytearray(path.read_bytes())
        assert data[4:8] == b"\x03\0\0\0", data[:8]
        data[4] = 2
        path.write_bytes(data)
        return path

    def with_fused_qkv(self):
        path = self.quantize(self.convert("fused", "f32", "--fuse-qkv"), "fused-q5_k", "Q5_K_M")
        assert any(tensor.name == "blk.0.attn_qkv.weight" for tensor in gguf.GGUFReader(path).tensors)
        return path

    def with_a_head(self):
        """The embedding once more as `output.weight`, which `llama-quantize` gives another type."""
        embedding = next(t for t in gguf.GGUFReader(self.f32).tensors if t.name == "token_embd.weight")
        head = {"output.weight": (embedding.data, embedding.tensor_type)}
        path = self.quantize(rewrite(self.f32, self.work / "head.gguf", tensors=head), "head-q4_k", "Q4_K_M")
        types = {t.name: t.tensor_type for t in gguf.GGUFReader(path).tensors}
        assert types["output.weight"] != types["token_embd.weight"], types
        return path

    def with_mixed_glu(self):
        kinds = ["--tensor-type", "ffn_gate=iq4_nl", "--tensor-type", "ffn_up=q5_1"]
        path = self.quantize(self.f32, "mixed", "Q4_K_M", *kinds)
        types = {t.name: t.tensor_type for t in gguf.GGUFReader(path).tensors}
        gates = [name for name in types if ".ffn_gate" in name and "_inp" not in name]
        assert gates and all(types[name] != types[name.replace("ffn_gate", "ffn_up")] for name in gates), types
        return path

    def of_family(self):
        """What people download, and one with unlike gate and up, whatever the family has of them."""
        for name in ("Q8_0", "Q4_0", "Q4_1", "Q4_K_M"):
            yield Case(name, partial(self.quantize, self.f32, name.lower(), name))
        yield Case("gate and up of two types", self.with_mixed_glu)

    def cases(self):
        for kind in CONVERTED:
            yield Case(kind, partial(self.convert, "as-is", kind))
        for kind, name in QUANTIZED.items():
            yield Case(kind, partial(self.quantize, self.f32, kind, name, "--pure"))
        yield Case("split", self.in_parts)
        yield Case("split and quantized", self.in_quantized_parts)
        yield Case("version 2", self.of_version_2)
        yield Case("fused qkv", self.with_fused_qkv)
        yield Case("gate and up of two types", self.with_mixed_glu)
        yield Case("a head of its own", self.with_a_head, says="the head counts as untied")
        factor = {ATTENTION_FACTOR: (1.25, gguf.GGUFValueType.FLOAT32, None)}
        yield Case("attention factor", partial(rewrite, self.f32, self.work / "factor.gguf", keys=factor))
        unknown = partial(rewrite, self.f32, self.work / "unknown.gguf", keys=UNKNOWN_KEYS)
        yield Case("unknown keys", unknown, says="`llama.invented` is not read by llama.cpp")
        nameless = partial(rewrite, self.f32, self.work / "nameless.gguf", drop=[PRE])
        pre = gguf.GGUFReader(self.f32).fields[PRE].contents()
        yield Case("no pre-tokenizer", nameless, says="the GGUF names no pre-tokenizer", pre=pre)
