"""Makes the golden files of this directory with the reference writers.

    python make.py

gguf-py (of llama.cpp) writes `gguf_py.gguf`; the `safetensors` package writes `reference.safetensors`. Both are tiny
and hold every value type and dtype that their writers know, so our readers are tested on bytes that we did not make.
"""

from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent


def write_gguf() -> None:
    writer = gguf.GGUFWriter(HERE / "gguf_py.gguf", "llama")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -3)
    writer.add_uint16("test.u16", 65000)
    writer.add_int16("test.i16", -300)
    writer.add_uint32("test.u32", 2**32 - 1)
    writer.add_int32("test.i32", -(2**31))
    writer.add_float32("test.f32", 1e-5)
    writer.add_uint64("test.u64", 2**64 - 1)
    writer.add_int64("test.i64", -(2**63))
    writer.add_float64("test.f64", 1e300)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "grüße")
    writer.add_array("test.tokens", [b"\xff\xfe", b"a", b""])
    writer.add_array("test.scores", [0.5, -1.0])
    writer.add_array("test.types", [1, 2, 3])
    writer.add_array("test.flags", [True, False])
    rows = (np.arange(2 * 64, dtype=np.float32).reshape(2, 64) - 60) / 8
    writer.add_tensor("plain.weight", rows[:, :5].copy())
    writer.add_tensor("half.bias", rows[0, :3].astype(np.float16))
    q8_0 = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("block.weight", q8_0, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors() -> None:
    tensors = {
        name: np.arange(6).reshape(2, 3).astype(name)
        for name in ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]
    }
    tensors["empty"] = np.zeros((0, 3), dtype=np.float32)
    tensors["scalar"] = np.array(7, dtype=np.int64)
    save_file(tensors, HERE / "reference.safetensors", metadata={"format": "np"})


write_gguf()
write_safetensors()
