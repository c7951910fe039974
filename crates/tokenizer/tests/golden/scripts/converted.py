#!/usr/bin/env python3
"""What llama.cpp's converter writes for whole tokenizers, for the tests that compare with it.

  converted.py LLAMA_CPP_DIR OUT_DIR MODEL_DIR...

Writes OUT_DIR/NAME.json for every model directory, with the key-values in the form of tests/golden/converter/.
"""
import sys
from pathlib import Path

from converter import dump, key_values, load, read


def main():
    conversion, gguf = load(Path(sys.argv[1]))
    for directory in map(Path, sys.argv[3:]):
        config = read(directory / "config.json")
        convert_class = conversion.get_model_class(config["architectures"][0])
        written = key_values(directory, convert_class, gguf)
        dump(Path(sys.argv[2]) / f"{directory.name}.json", {"key_values": written}, separators=(",", ":"))
        print(directory.name, convert_class.__name__, len(written))


main()
