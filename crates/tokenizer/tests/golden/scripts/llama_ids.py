#!/usr/bin/env python3
"""Tokenizes the texts of llama_ids.json with llama.cpp under every pre-tokenizer that we rebuild, and more.

  llama_ids.py LLAMA_CPP_PYTHON_DIR [TEXTS.json]
  llama_ids.py LLAMA_CPP_PYTHON_DIR --whole CONVERTED.json IDS.json

Takes the vocabulary of smollm2-cut/ as the converter writes it (converter/smollm2-cut.json), names another
pre-tokenizer each time, and writes ids and end-of-generation tokens to ../llama_ids.json. LLAMA_CPP_PYTHON_DIR is a
checkout of llama-cpp-python with a built llama.cpp in vendor/. TEXTS.json is a list of texts; without it the ones in
llama_ids.json stay. The SentencePiece vocabularies mistral-cut/ and gemma-like/ go to ../llama_ids_spm.json, each
also with scores made of the merges in tokenizer.json, which must give the same ids.

With --whole it compares the ids in IDS.json, as the test of whole tokenizers writes them, with those of llama.cpp for
the vocabulary in CONVERTED.json (scripts/converted.py), and counts the differences by class.
"""
import collections
import ctypes
import json
import os
import random
import sys
import tempfile
import types
import unicodedata
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


SPM = ["mistral-cut", "gemma-like"]
SPM_FRAGMENTS = [
    " ", "  ", "   ", "     ", "\n", "\n\n", "\t", "\t\t", "\t\t\t", "▁", "▁▁", "<0x0A>", "<0x41>", "<s>", "</s>", "[INST]",
    "[/INST]", "<bos>", "<eos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<unused1>", "<table>", "<tab", "Hello",
    "hello", " the", "there", "'s", "12345", "€", "é", "e\u0301", "日本語", "🦙", "👩‍👩‍👧", "नमस्ते", "\0", "\u200b", "…", "model\n",
]


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def vocabulary(path, key_values, pre=None):
    writer = gguf.GGUFWriter(path, "llama")
    for key, kind, value in key_values:
        if key == "tokenizer.ggml.pre" and pre is not None:
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


def spm_texts(texts):
    """The others' texts, and as many again of what SentencePiece stumbles over."""
    seeded = random.Random(20240726)
    return texts + ["".join(seeded.choices(SPM_FRAGMENTS, k=seeded.randint(1, 9))) for _ in range(250)]


def with_scores_from_merges(key_values, tokenizer):
    """The key-values with the scores that are made where there is no tokenizer.model, and these scores."""
    vocab, ranks = tokenizer["model"]["vocab"], {}
    products = [merge.replace(" ", "", 1) for merge in tokenizer["model"]["merges"]]
    last = {product: at for at, product in enumerate(products)}
    group, end = -1, -1
    for at, product in enumerate(products):  # pieces whose merges are interleaved had one score
        if at > end:
            group += 1
        end = max(end, last[product])
        ranks[product] = group
    by_id = {id: text for text, id in vocab.items()}
    values = {key: value for key, _, value in key_values}
    types, scores = values["tokenizer.ggml.token_type"], values["tokenizer.ggml.scores"]
    made = [-float(ranks.get(by_id[id], group + 1 + id)) if kind in (1, 2, 6) else score
            for id, (kind, score) in enumerate(zip(types, scores))]
    return [[key, kind, made if key == "tokenizer.ggml.scores" else value] for key, kind, value in key_values], made


def write_spm(texts):
    out = {"texts": spm_texts(texts), "ids": {}, "end_of_generation": {}, "scores_from_merges": {}}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocabulary.gguf"
        for name in SPM:
            key_values = read(GOLDEN / f"converter/{name}.json")["key_values"]
            vocabulary(path, key_values)
            ids, ends = tokenize(path, out["texts"])
            changed, scores = with_scores_from_merges(key_values, read(GOLDEN / name / "tokenizer.json"))
            vocabulary(path, changed)
            assert tokenize(path, out["texts"]) == (ids, ends), f"{name}: other scores, other ids"
            out["ids"][name], out["end_of_generation"][name], out["scores_from_merges"][name] = ids, ends, scores
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in out.items()]
    (GOLDEN / "llama_ids_spm.json").write_text("{%s}\n" % ",\n".join(lines), encoding="utf-8")


def classes(text, codes, plain_ends, tokens, types):
    """The known classes of difference, by the codes of what the tokenizer crate finds, that this text falls under."""
    special = [token for token, kind in zip(tokens, types) if kind in (2, 3, 4) and token in text]
    alphabet = bytes_to_characters()
    found = {
        "control-by-text": any(end in text for end in plain_ends),
        "normalization": unicodedata.normalize("NFC", text) != text,
        "written-space": "\u2581" in text,
        "missing-bytes": any(alphabet[byte] not in tokens for byte in text.encode()),
        "space-prefix": text[0] in " \u2581" or special,
    }
    return [code for code in codes if found[code]] or ["other"]


def bytes_to_characters():
    """GPT-2's printable character for every byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def compare_whole(converted, ids):
    key_values, ids = read(converted)["key_values"], read(ids)
    values = {key: value for key, _, value in key_values}
    tokens, types = dict.fromkeys(values["tokenizer.ggml.tokens"]), values["tokenizer.ggml.token_type"]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocabulary.gguf"
        vocabulary(path, key_values)
        theirs, _ = tokenize(path, ids["texts"])
    unknown = 0
    for whose in ("original", "rebuilt"):
        wrong = [(text, a, b) for text, a, b in zip(ids["texts"], ids[whose], theirs) if a != b]
        named = [(classes(text, ids["codes"], ids["plain_end_texts"], tokens, types), text, a, b)
                 for text, a, b in wrong]
        counts = collections.Counter(" or ".join(found) for found, *_ in named)
        print(f"{whose}: {len(wrong)} of {len(theirs)} differ from llama.cpp {dict(counts)}")
        others = [entry for entry in named if entry[0] == ["other"]]
        unknown += len(others)
        for _, text, ours, llamas in others[:3]:
            print("  ", ascii(text), ours, llamas)
    sys.exit(unknown > 0)


def main():
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    if sys.argv[2:3] == ["--whole"]:
        return compare_whole(*sys.argv[3:5])
    golden = GOLDEN / "llama_ids.json"
    texts = read(sys.argv[2] if len(sys.argv) > 2 else golden)
    texts = texts if isinstance(texts, list) else texts["texts"]
    key_values = read(GOLDEN / "converter/smollm2-cut.json")["key_values"]
    ids = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in NAMES:
            path = Path(directory) / "vocabulary.gguf"
            vocabulary(path, key_values, name)
            ids[name], ends = tokenize(path, texts)
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in ids.items()]
    golden.write_text('{"texts": %s,\n"end_of_generation": %s,\n"ids": {\n%s}}\n' % (
        json.dumps(texts, ensure_ascii=True), ends, ",\n".join(lines)), encoding="utf-8")
    write_spm(texts)


main()
