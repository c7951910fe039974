#!/usr/bin/env python3
"""Loads what `train-candle` and `fuse` made where others load it, and asks all for the same logits.

  fused.py BASE ADAPTER FUSED LOGITS

ADAPTER must load in PEFT and FUSED in transformers with no key missing or left over. LOGITS is what stage `logits` says
of base and adapter: its tokens are asked about, and its values held against PEFT's too. Ends with an error where
something is not so.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

# The greatest difference of a logit, in standard deviations of all.
BAR = 1e-4


def load(path):
    """A model in f32 that took all it was given."""
    model, report = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), f"{path}: {report}"
    return model.eval()


def adapted(base, adapter):
    model = PeftModel.from_pretrained(base, adapter).eval()
    # Loaded once more for its report; keys of the base are missing in any adapter.
    report = model.load_adapter(adapter, "again")
    missing = [key for key in report.missing_keys if "lora_" in key and ".again." in key]
    assert not missing and not report.unexpected_keys, (missing, report.unexpected_keys)
    model.delete_adapter("again")
    return model


def logits(model, windows):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in windows])


def main():
    base, adapter, fused, reference = (pathlib.Path(argument) for argument in sys.argv[1:])
    windows = json.loads((reference / "tokens.json").read_text())["windows"]
    model = load(base)
    plain = logits(model, windows)
    want = logits(adapted(model, adapter), windows)
    ours = torch.from_numpy(np.fromfile(reference / "logits.f32", dtype="<f4").reshape(want.shape))

    def apart(got):
        return float((got - want).abs().max() / want.std())

    learned = apart(plain)
    print(f"logits of {len(want)} tokens: the adapter moves them by up to {learned:.2f} standard deviations")
    assert learned > 1000 * BAR, "an adapter that changes nothing shows nothing"
    for name, got in [("the fused checkpoint in transformers", logits(load(fused), windows)), ("stage `logits`", ours)]:
        print(f"{name}: at most {apart(got):.2e} standard deviations from base and adapter in PEFT")
        assert apart(got) <= BAR, f"more than {BAR}"


if __name__ == "__main__":
    main()
