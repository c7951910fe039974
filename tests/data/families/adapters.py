#!/usr/bin/env python3
"""Makes PEFT adapters of the models with experts beside this file, with the logits that PEFT gives in f32.

  adapters.py [NAME…]

Each model's directory gets `adapter/`, as PEFT saves it, and `adapted.safetensors`: the ids of `text.txt` and the logits
of the model with the adapter. A and B are random. Seen with torch 2.15, transformers 5.23 and PEFT 0.21.2.
"""

import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
ADAPTERS = {
    # Both parameters of the experts, one in the other, and the router; ranks and alphas by pattern.
    "granite3-moe": dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"],
                         target_parameters=["experts.gate_up_proj", "experts.down_proj", "router.weight"],
                         rank_pattern={"layers.1.block_sparse_moe.experts.down_proj": 3, r".*\.experts\.gate_up_proj": 1,
                                       "v_proj": 4},
                         alpha_pattern={"experts.down_proj": 5, "layers.2.block_sparse_moe.router.weight": 1,
                                        "q_proj": 8}),
    # One parameter alone, beside Mamba's projections and the shared network; scaled by the root of the rank.
    "granite4-h-moe": dict(r=2, lora_alpha=2, use_rslora=True, target_modules=["in_proj", "out_proj", "input_linear"],
                           target_parameters=["experts.down_proj"]),
}


def base(name):
    return AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float32, attn_implementation="eager").eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits[0].contiguous()


def make(name, keys):
    torch.manual_seed(sum(name.encode()))
    model = get_peft_model(base(name), LoraConfig(task_type="CAUSAL_LM", **keys)).eval()
    for part, p in model.named_parameters():
        if ".lora_" in part:
            torch.nn.init.normal_(p, std=0.2)
    out = HERE / name / "adapter"
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config = json.loads((out / "adapter_config.json").read_text())
    # A path of the machine that made it, and sets in any order.
    config["base_model_name_or_path"] = name
    for key in ["target_modules", "target_parameters"]:
        config[key] = sorted(config[key])
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    ids = load_file(HERE / name / "golden.safetensors")["ids"].long()[None]
    ours = logits(PeftModel.from_pretrained(base(name), out).eval(), ids)
    assert torch.equal(ours, logits(model, ids)), "what is saved is what was computed"
    save_file({"ids": ids[0].to(torch.int32), "logits": ours}, HERE / name / "adapted.safetensors")
    change = (ours - logits(base(name), ids)).std() / ours.std()
    tensors = load_file(out / "adapter_model.safetensors")
    print(f"{name}: {sum(t.numel() for t in tensors.values())} values change the logits by {change:.2f} of their deviation")
    for tensor, value in tensors.items():
        print("  ", tensor, list(value.shape))


def main():
    for name in sys.argv[1:] or ADAPTERS:
        make(name, ADAPTERS[name])


if __name__ == "__main__":
    main()
