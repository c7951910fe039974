"""Reads GGUF files by their bytes: gguf-py's reader makes an array of every text, seconds for a real vocabulary."""

import struct

import gguf
import numpy as np

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")


class Tensor:
    """`shape` is outermost first, `data` are the bytes as they lie."""

    def __init__(self, name, kind, shape, data):
        self.name, self.kind, self.shape, self.data = name, kind, shape, data

    def f32(self):
        assert self.kind == gguf.GGMLQuantizationType.F32, (self.name, self.kind)
        return self.data.view("<f4")


class Gguf:
    """`values` are the key-values, each as (type, bytes), in the file's order; `tensors` are by name."""

    def __init__(self, path):
        self.data = np.memmap(path, np.uint8, "r")
        self.raw = memoryview(self.data)
        magic, version, tensors, keys = struct.unpack_from("<4sIQQ", self.raw)
        assert magic == b"GGUF" and version == 3, (path, magic, version)
        at, self.values = 24, {}
        for _ in range(keys):
            key, at = self.text(at)
            kind, = U32.unpack_from(self.raw, at)
            end = self.end(at + 4, kind)
            self.values[key] = (kind, bytes(self.raw[at + 4 : end]))
            at = end
        infos = []
        for _ in range(tensors):
            name, at = self.text(at)
            count, = U32.unpack_from(self.raw, at)
            shape = struct.unpack_from(f"<{count}Q", self.raw, at + 4)
            kind, offset = struct.unpack_from("<IQ", self.raw, at + 4 + 8 * count)
            infos.append((name, gguf.GGMLQuantizationType(kind), shape[::-1], offset))
            at += 16 + 8 * count
        alignment = self.contents("general.alignment") if "general.alignment" in self.values else 32
        start = -(-at // alignment) * alignment
        self.tensors = {}
        for name, kind, shape, offset in infos:
            length, size = gguf.GGML_QUANT_SIZES[kind]
            count = int(np.prod(shape)) // length * size
            self.tensors[name] = Tensor(name, kind, shape, self.data[start + offset : start + offset + count])

    def text(self, at):
        end = at + 8 + U64.unpack_from(self.raw, at)[0]
        return str(self.raw[at + 8 : end], "utf-8"), end

    def end(self, at, kind):
        """Where a value ends that begins at `at`."""
        if kind == TEXT:
            return at + 8 + U64.unpack_from(self.raw, at)[0]
        if kind != ARRAY:
            return at + SIZES[kind]
        item, count = struct.unpack_from("<IQ", self.raw, at)
        at += 12
        if item in SIZES:
            return at + count * SIZES[item]
        assert item == TEXT, item
        read, raw = U64.unpack_from, self.raw
        for _ in range(count):
            at += 8 + read(raw, at)[0]
        return at

    def contents(self, key):
        """A value that is one number or text, or a list of numbers."""
        kind, raw = self.values[key]
        if kind == TEXT:
            return raw[8:].decode()
        if kind != ARRAY:
            return struct.unpack("<" + FORMATS[kind], raw)[0]
        item, count = struct.unpack_from("<IQ", raw)
        if item == TEXT:
            return f"{count} texts"
        return list(struct.unpack_from(f"<{count}{FORMATS[item]}", raw, 12))
