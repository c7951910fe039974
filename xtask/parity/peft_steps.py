#!/usr/bin/env python3
"""Training with PEFT and PyTorch in f32, step by step, to hold `train-candle` against.

  peft_steps.py tiny OUT                      makes the golden files of stages/train-candle/tests/data/peft-tiny
  peft_steps.py init MODEL OUT                an initial adapter for MODEL: PEFT's A, and a B that is not zero
  peft_steps.py run MODEL DATA INIT OUT       trains; DATA is chats (.jsonl) or samples (.json: ids and learned)
  peft_steps.py compare RUN F64 F32           holds the stage `train` in a run directory of `host` against what `run` wrote
                                              in both dtypes, and ends with an error where it is further from the first
                                              than the bars below

Samples come in the file's order, batch after batch, from the beginning again when they end; a step's loss is the sum
over its learned tokens, divided by their number. Seen with torch 2.15, transformers 5.23, peft 0.21.
"""

import argparse
import json
import pathlib
import random

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, get_cosine_schedule_with_warmup

# How far apart a loss may be, relative, and an A or B at the end, in its norm. What f32 rounds depends on the processor:
# PEFT in f32 strays from PEFT in f64 by more or by less than this.
LOSS_BAR, ADAPTER_BAR = 2e-5, 1e-3


def chats(path, model):
    """Ids of each whole conversation, and which of them the assistant says, end of turn included."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    for line in open(path, encoding="utf-8"):
        messages = json.loads(line)["messages"]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        learned = [False] * len(encoding.input_ids)
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = len(tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True))
            end = len(tokenizer.apply_chat_template(messages[: i + 1], tokenize=False).rstrip())
            for at, (first, _) in enumerate(encoding.offset_mapping):
                learned[at] |= start <= first < end
        yield {"ids": encoding.input_ids, "learned": learned}


def batches(samples, size):
    """An endless walk; the last batch before the beginning may be smaller."""
    while True:
        for at in range(0, len(samples), size):
            yield samples[at : at + size]


def loss_sum(model, samples):
    width = max(len(s["ids"]) for s in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long)
    seen = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, sample in enumerate(samples):
        length = len(sample["ids"])
        ids[row, :length] = torch.tensor(sample["ids"])
        seen[row, :length] = 1
        learned = torch.tensor(sample["learned"])
        labels[row, :length] = torch.where(learned, ids[row, :length], -100)
    logits = model(input_ids=ids, attention_mask=seen).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    return loss, int((labels[:, 1:] != -100).sum())


def train(model, samples, options):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.lr, weight_decay=options.weight_decay)
    warmup = -(-options.steps * options.warmup_percent // 100)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, options.steps)
    model.train()
    course, losses = batches(samples, options.batch), []
    for step in range(options.steps):
        total, learned = 0.0, 0
        for _ in range(options.accumulation):
            loss, count = loss_sum(model, next(course))
            loss.backward()
            total, learned = total + loss.item(), learned + count
        for p in trained:
            p.grad /= learned
        norm = torch.nn.utils.clip_grad_norm_(trained, options.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(total / learned)
        print(f"step {step + 1} loss {losses[-1]:.6f} norm {norm:.5f}", flush=True)
    return losses


def adapted(model, options):
    config = LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.02)
    return model


def run(base, samples, init, out, options):
    dtype = getattr(torch, options.dtype)
    base = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, init, is_trainable=True, autocast_adapter_dtype=False).to(dtype)
    losses = train(model, samples, options)
    model.save_pretrained(out / "final")
    settings = {k: v for k, v in vars(options).items() if isinstance(v, (int, float))}
    (out / "run.json").write_text(json.dumps({"settings": settings, "losses": losses}, indent=1) + "\n")


def tiny(out, options):
    torch.manual_seed(0)
    random.seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0,
                         tie_word_embeddings=True, initializer_range=0.2)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    adapted(model, options).save_pretrained(out / "init")
    samples = []
    for _ in range(11):
        length = random.randint(6, 20)
        learned = [at > 0 and random.random() < 0.6 for at in range(length)]
        learned[-1] = True
        samples.append({"ids": [random.randrange(64) for _ in range(length)], "learned": learned})
    (out / "samples.json").write_text(json.dumps(samples) + "\n")
    run(out, samples, out / "init", out, options)
    for readme in out.glob("*/README.md"):
        readme.unlink()
    for path in out.glob("*/adapter_config.json"):
        config = json.loads(path.read_text()) | {"base_model_name_or_path": None}
        path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def of_host(run):
    """Losses in the order of steps, and the adapter."""
    points = map(json.loads, open(run / "metrics.jsonl", encoding="utf-8"))
    losses = {point["step"]: point["value"] for point in points if point["name"] == "loss"}
    return [losses[step] for step in sorted(losses)], load_file(run / "outputs/train/adapter/adapter_model.safetensors")


def of_peft(out):
    return json.loads((out / "run.json").read_text())["losses"], load_file(out / "final/adapter_model.safetensors")


def apart(what, one, other):
    """Largest relative difference of the losses, and of each A and B in its norm."""
    (losses, matrices), (want, exact) = one, other
    assert len(losses) == len(want), f"{len(losses)} steps, {len(want)} expected"
    assert matrices.keys() == exact.keys(), matrices.keys() ^ exact.keys()
    loss = max(abs(got - loss) / loss for got, loss in zip(losses, want))
    norm = {name: float((matrices[name] - exact[name]).norm() / exact[name].norm()) for name in exact}
    name = max(norm, key=norm.get)
    print(f"{what}: loss over {len(want)} steps, {want[0]:.3f} to {want[-1]:.3f}, at most {loss:.2e} apart, relative; "
          f"{len(exact)} matrices at most {norm[name]:.2e} of the norm, in {name}")
    return loss, norm[name]


def compare(run, f64, f32):
    ours, exact, rounded = of_host(run), of_peft(f64), of_peft(f32)
    apart("PEFT in f32 against itself in f64", rounded, exact)
    apart("host against PEFT in f32", ours, rounded)
    loss, norm = apart("host against PEFT in f64", ours, exact)
    assert loss <= LOSS_BAR and norm <= ADAPTER_BAR, f"bars: {LOSS_BAR} and {ADAPTER_BAR}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tiny", "init", "run", "compare"])
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--warmup-percent", type=int, default=10)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for path in options.paths[-1:]:
        path.mkdir(parents=True, exist_ok=True)
    match options.what, options.paths:
        case "tiny", [out]:
            tiny(out, options)
        case "init", [model, out]:
            torch.manual_seed(1)
            base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
            adapted(base, options).save_pretrained(out)
        case "run", [model, data, init, out]:
            samples = list(chats(data, model)) if data.suffix == ".jsonl" else json.loads(data.read_text())
            run(model, samples, init, out, options)
        case "compare", [run_directory, f64, f32]:
            compare(run_directory, f64, f32)
        case _:
            parser.error(f"`{options.what}` takes other paths; see --help")


if __name__ == "__main__":
    main()
