#!/usr/bin/env python3
"""Holds what llama.cpp computes with our GGUF LoRA of a PEFT adapter against what PEFT computes with the adapter itself.

  adapters.py LLAMA_CPP_PYTHON HOST FAMILIES WORK

LLAMA_CPP_PYTHON is an unpacked llama-cpp-python with a built llama.cpp in vendor/, HOST our program, FAMILIES
`tests/data/families`. Every model gets adapters of several kinds with random factors, all linears adapted; PEFT's logits
in f32 are the truth. HOST imports the adapter, writes the base as an f32 GGUF and the adapter as a GGUF LoRA, and
llama.cpp runs both. Ends with 1 where a logit is farther away than the bar, as a share of the logits' deviation.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import llama_runtime
import numpy as np
import peft
import torch
import transformers
from safetensors.torch import load_file

USUAL = 5e-5
# llama.cpp's GELU is a table of f16 (GGML_GELU_FP16); without that they are within the usual bar.
BARS = {"gemma2": 2e-2}
PLAIN = dict(r=4, lora_alpha=8)
KINDS = {
    "plain": PLAIN,
    "rslora": PLAIN | dict(use_rslora=True),
    "patterns": PLAIN | dict(rank_pattern={"layers.1.self_attn.q_proj": 2, "layers.2.self_attn.q_proj": 6},
                             alpha_pattern={"layers.0.*": 3, "o_proj": 5}),
}
EXPERTS = dict(target_parameters=["experts.gate_up_proj", "experts.down_proj"])
PIPELINE = """schema = 1
[stages.base]
uses = "fetch"
with = {{ source = "path:{model}" }}
[stages.f32]
uses = "convert-gguf"
inputs = {{ model = "base" }}
with = {{ quantizer = "f32" }}
"""
ADAPTER = """[stages.{kind}]
uses = "import-adapter"
inputs = {{ model = "base" }}
with = {{ source = "path:{adapter}" }}
[stages.{kind}-lora]
uses = "convert-gguf"
inputs = {{ adapter = "{kind}" }}
"""


def kinds(config):
    """The kinds of adapters that make sense for a model, by name."""
    mixture = (getattr(config, "num_local_experts", 0) or 0) > 0
    return {name: kind | (EXPERTS if mixture else {}) for name, kind in KINDS.items()}


def peft_logits(model_dir, kind, ids, out):
    """Saves an adapter of that kind with random factors and gives PEFT's logits."""
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager")
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **kind))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(out)
    with torch.no_grad():
        return model.eval()(torch.tensor(ids[None])).logits[0].numpy()


def run_host(host, work, model, adapters):
    """The artifacts of every stage."""
    pipeline = PIPELINE.format(model=model) + "".join(ADAPTER.format(kind=k, adapter=a) for k, a in adapters.items())
    path = work / "pipeline.toml"
    path.write_text(pipeline)
    environment = os.environ | {"HOST_CACHE_DIR": str(work / "cache")}
    done = subprocess.run([host, "run", path, "--json"], cwd=work, env=environment, stdout=subprocess.PIPE, check=True)
    stages = json.loads(done.stdout)["stages"]
    return {s["stage"]: {port: pathlib.Path(o["path"]) for port, o in s["outputs"].items()} for s in stages}


def gguf_in(directory):
    return next(directory.glob("*.gguf"))


def main():
    bindings, host, families, work = map(pathlib.Path, sys.argv[1:])
    runtime, failed = llama_runtime.load(bindings), []
    for data in sorted(path.parent for path in families.glob("*/golden.safetensors")):
        here = work / data.name
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        ids = load_file(data / "golden.safetensors")["ids"].numpy().astype(np.int64).reshape(-1)
        chosen = kinds(transformers.AutoConfig.from_pretrained(data))
        truth = {name: peft_logits(data, kind, ids, here / name) for name, kind in chosen.items()}
        made = run_host(host, here, data, {name: here / name for name in chosen})
        base = gguf_in(made["f32"]["model"])
        bare = next(runtime.logits(base, None, [ids]))
        for name, want in truth.items():
            got = next(runtime.logits(base, gguf_in(made[f"{name}-lora"]["adapter"]), [ids]))[:, : want.shape[1]]
            far, changed = (float(np.abs(x[:, : want.shape[1]] - want).max() / want.std()) for x in (got, bare))
            print(f"{data.name:16} {name:9} {far:.1e} of the deviation from PEFT's logits; without it {changed:.2f}", flush=True)
            if not far <= BARS.get(data.name, USUAL) or not changed > 0.05:
                failed.append((data.name, name))
    sys.exit(f"too far apart: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
