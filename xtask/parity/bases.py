#!/usr/bin/env python3
"""Holds GGUF files of every kind, as bases, against their values stored as f32 safetensors.

  bases.py LLAMA_CPP HOST WORK SMOLLM2 [CHECKPOINT…]
  bases.py --families LLAMA_CPP HOST WORK SMOLLM2 [NAME…]

LLAMA_CPP is a source tree with a built `llama-quantize`, HOST our program; the files are made of SMOLLM2, of a tiny
Llama, and of further CHECKPOINTs, or with --families of a small model of every kind. gguf-py says what their values
are. `bases.toml` computes logits and trains on both: logits and adapters must be equal to the bit, and what is odd
about a file must be said. Ends with 1 where one is not.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import family_models
import gguf_corpus
import gguf_values
import numpy as np
import tiny_llama
from safetensors.numpy import load_file

PIPELINE = pathlib.Path(__file__).with_suffix(".toml")
REBUILT = PIPELINE.with_name("rebuilt.toml")


class Host:
    """Our program on one pipeline, with a cache of its own in `work`."""

    def __init__(self, program, work, pipeline=PIPELINE):
        self.program, self.work, self.pipeline = program, work, pipeline
        self.environment = os.environ | {"HOST_CACHE_DIR": str(work / "cache")}

    def ask(self, verb, settings, *options):
        command = [self.program, verb, self.pipeline, "--json", *options]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.work, env=self.environment)
        if done.returncode != 0:
            raise RuntimeError(f"host {verb}: {done.returncode}\n{done.stderr[-4000:]}")
        return {stage["stage"]: stage for stage in json.loads(done.stdout)["stages"]}

    def forget(self):
        """Only artifacts: what is remembered of plugins stays."""
        subprocess.run([self.program, "cache", "rm", "--all"], env=self.environment, capture_output=True, check=True)
        shutil.rmtree(self.work / "run")


def said(stage):
    return [f["message"] for f in stage["findings"]]


def differences(stages):
    """What is not equal, as lines."""
    def pair(stage, port, file):
        return [pathlib.Path(stages[f"{stage}-{of}"]["outputs"][port]["path"]) / file for of in ("gguf", "values")]

    ids = [json.loads(path.read_text())["windows"] for path in pair("logits", "logits", "tokens.json")]
    assert sum(map(len, ids[0])) == 256
    if ids[0] != ids[1]:
        yield "token ids differ"
    logits, want = (np.fromfile(path, "<u4") for path in pair("logits", "logits", "logits.f32"))
    if not np.array_equal(logits, want):
        apart = np.abs(logits.view("<f4") - want.view("<f4")).max() if len(logits) == len(want) else "of other size"
        yield f"logits differ, by at most {apart}"
    adapter, want = pair("train", "adapter", "adapter_model.safetensors")
    learned = load_file(adapter)
    if not all(np.isfinite(values).all() and values.any() for values in learned.values()):
        yield "a module has learned nothing"
    if adapter.read_bytes() != want.read_bytes():
        want = load_file(want)
        apart = max(np.linalg.norm(learned[name] - want[name]) / np.linalg.norm(want[name]) for name in want)
        yield f"adapters differ, by at most {apart:.1e} of a matrix's norm"


def take_rebuilt_tokenizer(host, path, values):
    """Chats are trained with llama.cpp's ids on a GGUF and with Hugging Face's elsewhere, and those of a cut
    SentencePiece vocabulary differ behind control tokens: the values then get the tokenizer that has llama.cpp's."""
    rebuilt = Host(host.program, host.work, REBUILT)
    stages = rebuilt.ask("run", {"vars.gguf": f"path:{path}"}, "--run-dir", host.work / "run")
    for file in pathlib.Path(stages["model"]["outputs"]["model"]["path"]).glob("tokenizer*"):
        shutil.copyfile(file, values / file.name)
    rebuilt.forget()


def compare(host, corpus, case):
    """Prints one line about a file; whether all is well."""
    path = case.make()
    values = corpus.work / "values"
    kinds = gguf_values.write(path, corpus.checkpoint, values)
    if corpus.checkpoint.name in family_models.SENTENCEPIECE:
        take_rebuilt_tokenizer(host, path, values)
    settings = {"vars.gguf": f"path:{path}", "vars.values": f"path:{values}"}
    lines = []
    if case.says:
        findings = said(host.ask("plan", settings)["gguf"])
        lines += [f"`fetch` says only {findings}"] if not any(case.says in message for message in findings) else []
    if case.pre:
        settings["stages.gguf.with.pre"] = case.pre
    stages = host.ask("run", settings, "--run-dir", host.work / "run")
    if case.pre and any(case.says in message for message in said(stages["gguf"])):
        lines.append(f"`fetch` says \"{case.says}\" although it was told")
    lines += differences(stages)
    about = f", said: {case.says}" if case.says else ""
    print(f"{corpus.checkpoint.name}, {case.name} ({' '.join(kinds)}): {'equal' if not lines else 'differs'}{about}", flush=True)
    for line in lines:
        print(f"  {line}", flush=True)
    host.forget()
    shutil.rmtree(values)
    return not lines


def main():
    arguments = sys.argv[1:]
    families = arguments[:1] == ["--families"]
    llama_cpp, program, work, smollm2, *more = (pathlib.Path(argument) for argument in arguments[families:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # A directory in a cache has no name that one could print.
    named = shutil.copytree(smollm2, work / "SmolLM2")
    if families:
        names = [path.name for path in more] or family_models.NAMES
        checkpoints = [family_models.make(name, named, work / name) for name in names]
    else:
        checkpoints = [tiny_llama.make(work / "tiny", named), *more, named]
    host, good = Host(program, work), True
    for checkpoint in checkpoints:
        corpus = gguf_corpus.Corpus(llama_cpp, checkpoint, work / "corpus")
        for case in corpus.of_family() if families else corpus.cases():
            good &= compare(host, corpus, case)
        shutil.rmtree(corpus.work)
    sys.exit(not good)


if __name__ == "__main__":
    main()
