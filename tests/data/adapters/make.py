#!/usr/bin/env python3
"""Makes adapters of the tiny models in `../families` with the libraries that people use, and the logits that these give.

  make.py [NAME…]

Each directory holds an adapter as its library saved it and `golden.safetensors`: the logits of `../families/text.txt` in
f32, base and adapter together. Those of mlx-lm are trained by `mlx_lm.lora` on the CPU; those of PEFT have random factors,
for what it computes is the same; the GGUF is `peft-mistral` as `convert_lora_to_gguf.py` writes it, and has its logits.
Seen with mlx 0.32.4, mlx-lm 0.32.2, torch 2.15, transformers 5.23, peft 0.21.2 and llama.cpp 1652066e (its checkout is
what `LLAMA_CPP` names).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
ROWS = ["Granite is hard.", "Slate splits.", "Gneiss has bands, 3 of them.", "A stone weighs 42 kg."]

# name: (base, kind, LoRA parameters)
MLX = {
    # Rank 32 on a width of 32: A and B are square, and no shape tells how they lie.
    "mlx-square": ("qwen2", "lora", dict(rank=32, scale=2.0, dropout=0.0, keys=["self_attn.q_proj", "self_attn.o_proj"])),
    "mlx-dora": ("qwen2", "dora", dict(rank=4, scale=4.0, dropout=0.0,
                                       keys=["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"])),
    "mlx-hybrid": ("granite4-h", "lora", dict(rank=4, scale=8.0, dropout=0.0)),
    "mlx-experts": ("granite4-h-moe", "lora", dict(rank=2, scale=8.0, dropout=0.0)),
    "mlx-embedding": ("qwen2", "lora", dict(rank=4, scale=1.0, dropout=0.0, keys=["self_attn.q_proj", "model.embed_tokens"])),
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
PEFT = {
    "peft-mistral": ("mistral", dict(r=4, lora_alpha=8, target_modules=ATTENTION + ["down_proj"])),
    "peft-patterns": ("granite4-h", dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=ATTENTION + ["in_proj", "out_proj", "input_linear"],
        rank_pattern={"q_proj": 2, r"layers\.[01]\.shared_mlp\.input_linear": 8},
        alpha_pattern={"mamba.in_proj": 3, "model.layers.2.self_attn.k_proj": 16})),
    "peft-dora": ("qwen2", dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "v_proj", "down_proj"])),
    # PEFT saves the frozen embedding and head beside the factors of such adapters.
    "peft-embeddings": ("mistral", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "lm_head", "q_proj"])),
    "peft-tied-head": ("qwen2", dict(r=4, lora_alpha=8, target_modules=["lm_head", "q_proj"])),
    "peft-tied-embedding": ("llama3", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "v_proj"])),
    "peft-weight-tying": ("gemma2", dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"],
                                         ensure_weight_tying=True)),
}


def base(name):
    return FAMILIES / name


def save_logits(out, logits):
    import torch
    from safetensors.torch import save_file
    save_file({"logits": torch.as_tensor(logits, dtype=torch.float32).contiguous()}, out / "golden.safetensors")


def ids(name):
    from safetensors.numpy import load_file
    return load_file(base(name) / "golden.safetensors")["ids"].tolist()


def make_mlx(name, out):
    family, kind, parameters = MLX[name]
    with tempfile.TemporaryDirectory() as work:
        data = pathlib.Path(work) / "data"
        data.mkdir()
        text = "".join(json.dumps({"text": row}) + "\n" for row in ROWS)
        for part in ["train", "valid"]:
            (data / f"{part}.jsonl").write_text(text)
        config = pathlib.Path(work) / "config.yaml"
        # Trained in f32, as the logits are computed: on bf16 weights mlx-lm computes in bf16.
        model = pathlib.Path(work) / "model"
        float32(family, model)
        config.write_text(json.dumps(dict(
            model=str(model), train=True, data=str(data), fine_tune_type=kind, lora_parameters=parameters,
            num_layers=-1, iters=30, batch_size=2, learning_rate=2e-2, max_seq_length=64, seed=7, save_every=1000,
            steps_per_eval=1000, val_batches=1, adapter_path=str(out))))
        subprocess.run([sys.executable, "-m", "mlx_lm", "lora", "-c", str(config)], check=True)
        golden_mlx(family, model, out)
    path = out / "adapter_config.json"
    # Where it was made is no part of it.
    saved = json.loads(path.read_text()) | dict(model=f"tiny/{family}", data="data", adapter_path="adapters", config=None)
    path.write_text(json.dumps(saved, indent=4, sort_keys=True) + "\n")
    (out / "0001000_adapters.safetensors").unlink(missing_ok=True)


def float32(family, out):
    import torch
    from safetensors.torch import load_file, save_file
    out.mkdir()
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(base(family) / file, out / file)
    tensors = load_file(base(family) / "model.safetensors")
    save_file({k: v.to(torch.float32) for k, v in tensors.items()}, out / "model.safetensors", metadata={"format": "pt"})


def golden_mlx(family, model, out):
    import mlx.core as mx
    import numpy as np
    from mlx_lm import load
    network, _ = load(str(model), adapter_path=str(out))
    for layer in network.layers:
        if hasattr(layer, "mamba"):
            # mlx-lm bounds time steps where the published configuration does not.
            layer.mamba.time_step_limit = (0.0, float("inf"))
    logits = network(mx.array([ids(family)]))[0]
    save_logits(out, np.array(logits.astype(mx.float32)))


def make_peft(name, out):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    family, parameters = PEFT[name]
    torch.manual_seed(sum(name.encode()))
    model = AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **parameters)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key and "lm_head" in key and parameters.get("ensure_weight_tying"):
                continue  # the embedding's, transposed
            if "lora_B" in key or "lora_embedding_A" in key:
                p.copy_(torch.randn_like(p) * 0.1)
            elif "lora_magnitude_vector" in key:
                p.mul_(1 + 0.2 * torch.randn_like(p))
        logits = model(input_ids=torch.tensor([ids(family)])).logits[0]
    model.peft_config["default"].base_model_name_or_path = f"tiny/{family}"
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    save_logits(out, logits)


def make_gguf(out):
    script = pathlib.Path(os.environ["LLAMA_CPP"]) / "convert_lora_to_gguf.py"
    out.mkdir(exist_ok=True)
    subprocess.run([sys.executable, str(script), "--base", str(base("mistral")), "--outtype", "f32",
                    "--outfile", str(out / "lora.gguf"), str(HERE / "peft-mistral")], check=True)


def main():
    for name in sys.argv[1:] or [*MLX, *PEFT, "gguf-mistral"]:
        out = HERE / name
        if name in MLX:
            make_mlx(name, out)
        elif name in PEFT:
            make_peft(name, out)
        else:
            make_gguf(out)
        print(name, sorted(f"{p.name} {p.stat().st_size}" for p in out.iterdir()), flush=True)


if __name__ == "__main__":
    main()
