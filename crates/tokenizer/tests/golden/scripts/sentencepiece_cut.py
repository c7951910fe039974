#!/usr/bin/env python3
"""Cuts Mistral 7B v0.3's tokenizer down and writes what llama.cpp's converter makes of it and of one like Gemma's.

  sentencepiece_cut.py MISTRAL_TOKENIZER_DIR LLAMA_CPP_DIR

Needs transformers and torch (the converter imports them), and sentencepiece. Writes tests/golden/mistral-cut/,
tests/golden/gemma-like/ and tests/golden/converter/{mistral-cut,gemma-like}.json. The second tokenizer has the first
one's pieces in the structure of Gemma 2's: no prefix, runs of spaces, tabs and line breaks as tokens of their own, a tab
in the place of its byte, special tokens that are not marked so.
"""
import json
import struct
import sys
from pathlib import Path

from converter import GOLDEN, dump, key_values, load, read, write

CONTROLS = 10  # [INST] and its kin
PIECES = 1200
ROWS = 8  # of padding
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
EXTRA = "éèüßñçøабвгдежзиклмнопрстуфхцчшыьюя日本語中文한국어नमस्तेไทย🦙😀—“”’…€²½"


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def piece(text, score, kind):
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind))


def model(pieces, add_dummy_prefix):
    """A ModelProto of BPE with byte fallback; sentencepiece itself reads it below."""
    trainer = b"\x18\x02" + varint(35 << 3) + b"\x01"
    normalizer = field(1, b"identity") + b"\x18" + varint(add_dummy_prefix) + b"\x20\x00\x28\x01"
    return b"".join(piece(*entry) for entry in pieces) + field(2, trainer) + field(3, normalizer)


def cut(source):
    from sentencepiece import SentencePieceProcessor

    whole = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    texts = [whole.id_to_piece(id) for id in range(whole.vocab_size())]
    first = next(id for id, text in enumerate(texts) if text == "<0xFF>") + 1
    chosen = set(range(first, first + PIECES))
    letters = {c for id in chosen for c in texts[id]} | set(EXTRA) | {chr(c) for c in range(0x21, 0x7F)}
    chosen |= {id for id, text in enumerate(texts) if len(text) == 1 and text in letters}
    chosen |= set(range(CONTROLS)) | {id for id in range(len(texts)) if whole.is_byte(id)}
    chosen = sorted(chosen)
    kind = lambda id: UNKNOWN if whole.is_unknown(id) else CONTROL if whole.is_control(id) else \
        BYTE if whole.is_byte(id) else NORMAL
    pieces = [(texts[id], whole.get_score(id), kind(id)) for id in chosen]
    ids = {text: id for id, (text, _, _) in enumerate(pieces)}

    tokenizer = read(source / "tokenizer.json")
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < CONTROLS]
    tokenizer["model"]["vocab"] = ids
    pairs = [m.split(" ") if isinstance(m, str) else m for m in tokenizer["model"]["merges"]]
    tokenizer["model"]["merges"] = [f"{a} {b}" for a, b in pairs if a in ids and b in ids and a + b in ids]
    config = read(source / "tokenizer_config.json")
    decoder = config["added_tokens_decoder"]
    config["added_tokens_decoder"] = {id: token for id, token in decoder.items() if int(id) < CONTROLS}
    config["additional_special_tokens"] = [token["content"] for id, token in decoder.items() if 3 <= int(id) < CONTROLS]
    return pieces, {
        "tokenizer.json": tokenizer,
        "tokenizer.model": model(pieces, True),
        "tokenizer_config.json": config,
        "special_tokens_map.json": read(source / "special_tokens_map.json"),
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "config.json": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "bos_token_id": 1,
                        "eos_token_id": 2, "num_hidden_layers": 1, "vocab_size": len(pieces) + ROWS},
    }


def gemma_like(mistral):
    from transformers.convert_slow_tokenizer import generate_merges

    runs = [c * n for c in "\n▁\t" for n in range(1, 5) if c == "\n" or n > 1]
    tags = ["<table>", "</table>", "<h1>"]
    names = ["<mask>", "<2mass>", "[@BOS@]", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
    pieces = [("<pad>", 0.0, CONTROL), ("<eos>", 0.0, CONTROL), ("<bos>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
    pieces += [(text, 0.0, USER_DEFINED) for text in [*names, *runs, *tags]]
    pieces += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    taken = {text for text, _, _ in pieces}
    rest = [(text, score) for text, score, kind in mistral
            if kind == NORMAL and text not in taken and (text == "▁" or set(text) != {"▁"})]
    rest.sort(key=lambda entry: -entry[1])
    pieces += [(text, -float(rank), NORMAL) for rank, (text, _) in enumerate([*rest, ("</s>", 0)])]
    pieces.append(("<unused99>", 0.0, USER_DEFINED))

    # As transformers' converter of Gemma's tokenizer.model does: a tab in the place of its byte, merges by score.
    spelled = [("\t" if text == "<0x09>" else text, score) for text, score, _ in pieces]
    ids = {text: id for id, (text, _) in enumerate(spelled)}
    merges = generate_merges(ids, dict(spelled))
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    added = [dict(id=id, content=text, **flags, special=id < 4 or text in names[-2:])
             for id, (text, _, kind) in enumerate(pieces) if id < 4 or kind == USER_DEFINED]
    special = lambda segment: {"SpecialToken": {"id": "<bos>", "type_id": segment}}
    sequence = lambda name, segment: {"Sequence": {"id": name, "type_id": segment}}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                          "invert": False},
        "post_processor": {
            "type": "TemplateProcessing", "single": [special(0), sequence("A", 0)],
            "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": ids, "merges": [f"{a} {b}" for a, b in merges]},
    }
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    decoder = {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added}
    template = (GOLDEN / "templates/gemma-2.jinja").read_text(encoding="utf-8")
    return {
        "tokenizer.json": tokenizer,
        "tokenizer.model": model(pieces, False),
        "tokenizer_config.json": {
            "add_bos_token": True, "add_eos_token": False, "added_tokens_decoder": decoder, **roles,
            "chat_template": template, "clean_up_tokenization_spaces": False,
            "model_max_length": 1000000000000000019884624838656, "tokenizer_class": "GemmaTokenizer"},
        "special_tokens_map.json": roles,
        "generation_config.json": {"bos_token_id": 2, "eos_token_id": [1, ids["<end_of_turn>"]], "pad_token_id": 0},
        "config.json": {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "bos_token_id": 2,
                        "eos_token_id": 1, "pad_token_id": 0, "num_hidden_layers": 1, "vocab_size": len(pieces)},
    }


def main():
    source, llama_cpp = Path(sys.argv[1]), Path(sys.argv[2])
    _, gguf = load(llama_cpp)
    from conversion.gemma import Gemma2Model
    from conversion.llama import LlamaModel

    pieces, mistral = cut(source)
    for name, files, convert_class in [("mistral-cut", mistral, LlamaModel),
                                       ("gemma-like", gemma_like(pieces), Gemma2Model)]:
        write(GOLDEN / name, files)
        written = {"files": {}, "key_values": key_values(GOLDEN / name, convert_class, gguf)}
        dump(GOLDEN / "converter" / f"{name}.json", written, separators=(",", ":"))


main()
