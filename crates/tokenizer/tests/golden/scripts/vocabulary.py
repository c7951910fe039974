#!/usr/bin/env python3
"""Cuts SmolLM2's tokenizer down to 4,096 tokens and writes what llama.cpp's converter makes of it and of variants.

  vocabulary.py SMOLLM2_DIR LLAMA_CPP_DIR

Needs transformers and torch (the converter imports them). Writes tests/golden/smollm2-cut/ and
tests/golden/converter/*.json. A cut vocabulary has another hash than the converter's table, so the name of the
pre-tokenizer is handed to it; everything else is the converter's own code.
"""
import json
import sys
import tempfile
from pathlib import Path

from converter import GOLDEN, dump, key_values, load, read, write

TOKENS = 4096
ROWS = 4104  # eight rows of padding


def cut(source):
    tokenizer = read(source / "tokenizer.json")
    model = tokenizer["model"]
    vocab = {text: id for text, id in model["vocab"].items() if id < TOKENS}
    merges = [m for m in model["merges"] if all(p in vocab for p in m.split(" ")) and m.replace(" ", "") in vocab]
    reachable = {m.replace(" ", "") for m in merges}
    assert all(text in reachable or len(text) == 1 or id < 17 for text, id in vocab.items()), "a hole in the merges"
    model["vocab"], model["merges"] = vocab, merges
    config = read(source / "config.json")
    config["vocab_size"] = ROWS
    return {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": read(source / "tokenizer_config.json") | {"vocab_size": TOKENS},
        "special_tokens_map.json": read(source / "special_tokens_map.json"),
        "generation_config.json": read(source / "generation_config.json"),
        "config.json": config,
    }


def llama3_like(files):
    """The same pieces cut the way Llama 3 cuts: special tokens after the pieces, merges as pairs, BOS in front."""
    files = json.loads(json.dumps(files))
    tokenizer = files["tokenizer.json"]
    model = tokenizer["model"]
    pieces = [text for text, id in model["vocab"].items() if id >= 17]
    model["vocab"] = {text: id for id, text in enumerate(pieces)}
    model["merges"] = [m.split(" ") for m in model["merges"]]
    model["ignore_merges"] = True
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<tool>", "<|looks_special|>"]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    tokenizer["added_tokens"] = [
        dict(id=len(pieces) + i, content=name, **flags, special=name not in ("<tool>", "<|looks_special|>"))
        for i, name in enumerate(names)
    ]
    cl100k = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": cl100k}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ]}
    bos, bos_id = names[0], len(pieces)
    special = lambda segment: {"SpecialToken": {"id": bos, "type_id": segment}}
    sequence = lambda name, segment: {"Sequence": {"id": name, "type_id": segment}}
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [special(0), sequence("A", 0)],
         "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
         "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}}},
    ]}
    files["tokenizer_config.json"] = {"bos_token": bos, "eos_token": "<|eot_id|>", "chat_template": "{{ messages }}",
                                      "clean_up_tokenization_spaces": True, "tokenizer_class": "PreTrainedTokenizerFast"}
    files["special_tokens_map.json"] = {"bos_token": bos, "eos_token": "<|eot_id|>"}
    files["config.json"] |= {"bos_token_id": bos_id, "eos_token_id": [bos_id + 1, bos_id + 3], "pad_token_id": 0}
    files["generation_config.json"] = {"eos_token_id": [bos_id + 1, bos_id + 2, bos_id + 3]}
    return files


def several_templates(files):
    """A list of templates, BOS and EOS by the post-processor, no `config.json` ids."""
    files = json.loads(json.dumps(files))
    files["tokenizer.json"]["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]},
                           "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    files["tokenizer_config.json"] |= {
        "chat_template": [{"name": "default", "template": "d"}, {"name": "tool-use", "template": "t"}],
        "sep_token": None, "cls_token": "<jupyter_start>", "mask_token": "<jupyter_code>"}
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        del files["config.json"][key]
    return files


def main():
    source, llama_cpp = Path(sys.argv[1]), Path(sys.argv[2])
    _, gguf = load(llama_cpp)
    from conversion.llama import LlamaModel
    from conversion.qwen import Qwen2Model

    files = cut(source)
    write(GOLDEN / "smollm2-cut", files)
    variants = {
        "smollm2-cut": (files, "smollm", LlamaModel),
        "llama3-like": (llama3_like(files), "llama-bpe", LlamaModel),
        "several-templates": (several_templates(files), "smollm", Qwen2Model),
    }
    for name, (variant, pre, convert_class) in variants.items():
        with tempfile.TemporaryDirectory() as directory:
            write(Path(directory), variant)
            metadata = key_values(Path(directory), convert_class, gguf, pre)
        # The pieces are in the tokenizer already; what the variants share is not written down three times.
        changed = {file: value for file, value in variant.items() if value != files[file]}
        dump(GOLDEN / "converter" / f"{name}.json", {"files": changed, "key_values": metadata}, separators=(",", ":"))


main()
