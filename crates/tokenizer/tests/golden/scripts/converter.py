"""What llama.cpp's converter makes of a tokenizer: the part that the golden files' scripts share."""
import json
import sys
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def dump(path, value, **style):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, **style) + "\n", encoding="utf-8")


def write(directory, files):
    for name, value in files.items():
        if isinstance(value, bytes):
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(value)
        else:
            # The tokenizers crate writes its file this way; the others are written by people and by json.dumps.
            dump(directory / name, value, **({"separators": (",", ":")} if name == "tokenizer.json" else {"indent": 2}))


def load(llama_cpp):
    """The converter's modules of a llama.cpp checkout; needs transformers and torch, which they import."""
    sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    import conversion
    import gguf

    return conversion, gguf


def array_type(values):
    kinds = {str: "STRING", bytes: "STRING", float: "FLOAT32"}
    return "ARRAY " + kinds.get(type(values[0]), "INT32")


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def key_values(directory, convert_class, gguf, pre=None):
    """The key-values that the converter writes, in its order, as [key, type, value].

    A cut vocabulary has another hash than the converter's table, so the name of the pre-tokenizer may be given.
    """
    converter = convert_class(directory, gguf.LlamaFileType.ALL_F32, directory / "out.gguf")
    if pre is not None:
        converter.get_vocab_base_pre = lambda tokenizer: pre
    converter.set_vocab()
    written = converter.gguf_writer.kv_data[0].items()
    kind = lambda value: value.type.name if value.type.name != "ARRAY" else array_type(value.value)
    return [[key, kind(value), plain(value.value)] for key, value in written if key.startswith("tokenizer.")]
