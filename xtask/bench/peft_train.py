#!/usr/bin/env python3
"""LoRA steps with PEFT and PyTorch on the CPU in f32: the peer of `train-candle`.

  peft_train.py MODEL TEXT BATCH LENGTH STEPS RANK

TEXT is JSON lines with `text`, as `train-candle` takes them, each cut to LENGTH tokens. Adapters on all linears but the
head, AdamW, every token learned. Prints one JSON object: median tokens/s of the steps after the first, and the peaks of
anonymous and of resident memory in bytes.
"""

import json
import statistics
import sys
import time

import peft
import torch
import transformers
from anonymous_peak import AnonymousPeak, memory


def main():
    model_dir, text, (batch, length, steps, rank) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
    anonymous = AnonymousPeak()
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    texts = [json.loads(line)["text"] for line in open(text, encoding="utf-8")]
    samples = [tokenizer(text, add_special_tokens=False).input_ids[:length] for text in texts]
    assert all(len(sample) == length for sample in samples), "a text is too short"

    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model = peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model.train()
    seconds = []
    for step in range(steps):
        first = step * batch % len(samples)
        ids = torch.tensor((samples + samples)[first : first + batch])
        start = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "name": f"PEFT {peft.__version__}, PyTorch {torch.__version__}",
        "tokens_per_second": batch * length / statistics.median(seconds[1:]),
        "anonymous": anonymous.peak,
        "resident": memory("VmHWM"),
    }))


if __name__ == "__main__":
    main()
