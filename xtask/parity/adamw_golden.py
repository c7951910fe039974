#!/usr/bin/env python3
"""Makes stages/train-candle/tests/data/adamw.json: PyTorch's AdamW and clip_grad_norm_ on a few values in f32.

  adamw_golden.py OUT.json

Seen with torch 2.15.
"""

import json
import pathlib
import sys

import torch

LR, BETAS, EPS, WEIGHT_DECAY, MAX_NORM = [0.0, 1e-2, 2e-2, 1e-2, 5e-3], (0.9, 0.98), 1e-8, 0.1, 0.7

torch.manual_seed(0)
a, b = torch.randn(2, 3), torch.randn(3, 2)
parameters = [torch.nn.Parameter(a.clone()), torch.nn.Parameter(b.clone())]
optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
steps = []
for lr in LR:
    gradients = [torch.randn_like(p) * 10 ** torch.empty(1).uniform_(-4, 0.5).item() for p in parameters]
    for p, g in zip(parameters, gradients):
        p.grad = g.clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM).item()
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    flat = [t.flatten().tolist() for t in gradients]
    steps.append({"lr": lr, "gradients": flat, "norm": norm, "after": [p.flatten().tolist() for p in parameters]})
options = {"betas": BETAS, "eps": EPS, "weight_decay": WEIGHT_DECAY, "max_norm": MAX_NORM}
golden = {"options": options, "before": [a.flatten().tolist(), b.flatten().tolist()], "steps": steps}
pathlib.Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
