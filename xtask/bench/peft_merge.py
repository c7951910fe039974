#!/usr/bin/env python3
"""Merges an adapter into a bf16 base with PEFT and saves it: the peer of `fuse`.

  peft_merge.py MODEL ADAPTER OUT

Prints one JSON object: seconds from loading to saving, imports left out, and the peak of anonymous memory in bytes.
"""

import json
import sys
import time

import peft
import torch
import transformers
from anonymous_peak import AnonymousPeak


def main():
    base, adapter, out = sys.argv[1:]
    anonymous = AnonymousPeak()
    start = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    print(json.dumps({"seconds": time.perf_counter() - start, "anonymous": anonymous.peak}))


if __name__ == "__main__":
    main()
