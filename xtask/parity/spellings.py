#!/usr/bin/env python3
"""Holds what llama.cpp's converter and we make of one model in the spellings of transformers 5 and mlx-lm.

  spellings.py LLAMA_CPP_PYTHON HOST WORK SMOLLM2 [NAME…]

For a small model of every kind, or of these: our GGUF of each spelling must have the bytes of the published one's, which llama.cpp
runs (`spellings.toml`); what llama.cpp's converter does instead is said. Ends with 1 where one of ours differs.
"""

import ctypes
import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import types

import family_models
from bases import Host
from gguf_file import Gguf

BINDINGS = pathlib.Path(sys.argv[1])
LLAMA_CPP = BINDINGS / "vendor/llama.cpp"
os.environ.setdefault("LLAMA_CPP_LIB_PATH", str(LLAMA_CPP / "build/bin"))
sys.path.insert(0, str(BINDINGS))
sys.modules["diskcache"] = types.ModuleType("diskcache")

import llama_cpp.llama_cpp as llama  # noqa: E402

PIPELINE = pathlib.Path(__file__).with_suffix(".toml")
ERROR, LOGGED = 4, []


@llama.llama_log_callback
def log(level, text, user_data):
    if level == ERROR:
        LOGGED.append(text.decode(errors="replace").strip())


def why_not_loaded(path):
    """llama.cpp's first complaint about a file; `None` where it loads."""
    LOGGED.clear()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    if model:
        llama.llama_model_free(model)
        return None
    return LOGGED[0].rsplit(": ", 1)[-1] if LOGGED else "no reason given"


def theirs(model, out, published):
    """What their converter does, in words; `published` is what it made of the published spelling."""
    converter = LLAMA_CPP / "convert_hf_to_gguf.py"
    command = [sys.executable, converter, model, "--outfile", out, "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return f"refuses it: {done.stderr.strip().splitlines()[-1]}"
    if reason := why_not_loaded(out):
        return f"writes without a word a file that llama.cpp cannot load: {reason}"
    if out == published:
        return "converts it"
    a, b = Gguf(out).tensors, Gguf(published).tensors
    same = a.keys() == b.keys() and all((a[name].data == b[name].data).all() for name in a)
    return "makes the published one's tensors of it" if same else "makes other tensors of it than of the published one"


def ours(host, model):
    """Our GGUF, and how far llama.cpp is from our logits."""
    stages = host.ask("run", {"vars.model": f"path:{model}"}, "--run-dir", host.work / "run")
    folder = pathlib.Path(stages["gguf"]["outputs"]["model"]["path"])
    return next(folder.glob("*.gguf")), stages["evaluate"]["metrics"]["kl_mean"]


def spellings(published, work):
    yield "published", published
    yield "as transformers 5 saves it", family_models.in_v5(published, work / "v5")
    if mlx := family_models.in_mlx(published, work / "mlx"):
        yield "as mlx-lm saves it", mlx


def compare(host, name, smollm2, work):
    """Prints a line a spelling; whether ours are equal."""
    published = family_models.make(name, smollm2, work / name)
    reference, good = work / "published.gguf", True
    for spelled, model in spellings(published, work):
        made, kl = ours(host, model)
        if spelled == "published":
            shutil.copyfile(made, reference)
            said = f"KL {kl:.0e} in llama.cpp"
        else:
            same = filecmp.cmp(made, reference, shallow=False)
            said, good = "the published one's bytes" if same else "OTHER BYTES", good and same
        other = theirs(model, work / f"theirs-{model.name}.gguf", work / f"theirs-{published.name}.gguf")
        print(f"{name}, {spelled}: ours {said}; llama.cpp's converter {other}", flush=True)
    return good


def main():
    program, work, smollm2 = map(pathlib.Path, sys.argv[2:5])
    llama.llama_log_set(log, ctypes.c_void_p(0))
    llama.llama_backend_init()
    good = True
    for name in sys.argv[5:] or family_models.NAMES:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        good &= compare(Host(program, work, PIPELINE), name, smollm2, work)
    sys.exit(not good)


if __name__ == "__main__":
    main()
