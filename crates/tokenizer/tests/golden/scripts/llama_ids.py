#!/usr/bin/env python3
"""Tokenizes the texts of llama_ids.json with llama.cpp under every pre-tokenizer that we rebuild.

  llama_ids.py LLAMA_CPP_PYTHON_DIR [TEXTS.json]

Takes the vocabulary of smollm2-cut/ as the converter writes it (converter/smollm2-cut.json), names another
pre-tokenizer each time, and writes ids and end-of-generation tokens to ../llama_ids.json. LLAMA_CPP_PYTHON_DIR is a
checkout of llama-cpp-python with a built llama.cpp in vendor/. TEXTS.json is a list of texts; without it the ones in
llama_ids.json stay.
"""
import ctypes
import json
import os
import sys
import tempfile
import types
from pathlib import Path

ROOT = Path(sys.argv[1])
os.environ.setdefault("LLAMA_CPP_LIB_PATH", str(ROOT / "vendor/llama.cpp/build/bin"))
sys.path[:0] = [str(ROOT), str(ROOT / "vendor/llama.cpp/gguf-py")]
sys.modules["diskcache"] = types.ModuleType("diskcache")

import gguf
import llama_cpp.llama_cpp as llama

GOLDEN = Path(__file__).resolve().parent.parent
NAMES = ["llama-bpe", "dbrx", "smaug-bpe", "qwen2", "smollm", "refact", "starcoder", "gpt-2", "default", ""]


@llama.llama_log_callback
def quiet(level, text, user_data):
    pass


def vocabulary(path, key_values, pre):
    writer = gguf.GGUFWriter(path, "llama")
    for key, kind, value in key_values:
        if key == "tokenizer.ggml.pre":
            value = pre
        if value == "":
            continue
        if kind.startswith("ARRAY"):
            writer.add_array(key, value)
        else:
            {"UINT32": writer.add_uint32, "BOOL": writer.add_bool, "STRING": writer.add_string}[kind](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokenize(path, texts):
    parameters = llama.llama_model_default_params()
    parameters.vocab_only = True
    model = llama.llama_model_load_from_file(str(path).encode(), parameters)
    assert model, path
    vocab = llama.llama_model_get_vocab(model)
    out = []
    for text in texts:
        raw = text.encode("utf-8")
        ids = (ctypes.c_int32 * (len(raw) + 8))()
        count = llama.llama_tokenize(vocab, raw, len(raw), ids, len(ids), False, True)
        assert count >= 0, text
        out.append(list(ids[:count]))
    ends = [id for id in range(llama.llama_vocab_n_tokens(vocab)) if llama.llama_vocab_is_eog(vocab, id)]
    llama.llama_model_free(model)
    return out, ends


def main():
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    golden = GOLDEN / "llama_ids.json"
    texts = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")) if len(sys.argv) > 2 else \
        json.loads(golden.read_text(encoding="utf-8"))["texts"]
    key_values = json.loads((GOLDEN / "converter/smollm2-cut.json").read_text(encoding="utf-8"))["key_values"]
    ids = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in NAMES:
            path = Path(directory) / "vocabulary.gguf"
            vocabulary(path, key_values, name)
            ids[name], ends = tokenize(path, texts)
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in ids.items()]
    golden.write_text('{"texts": %s,\n"end_of_generation": %s,\n"ids": {\n%s}}\n' % (
        json.dumps(texts, ensure_ascii=True), ends, ",\n".join(lines)), encoding="utf-8")


main()
