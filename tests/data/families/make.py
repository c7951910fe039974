#!/usr/bin/env python3
"""Makes tiny random models of every family beside this file, with the logits that transformers gives in f32.

  make.py [NAME…]
  make.py --margins [NAME…]

Each directory holds `model.safetensors` (bf16), `config.json` as published, `config.v5.json` as transformers 5 saves it,
a byte-level tokenizer, and `golden.safetensors`: the ids of `text.txt` and their logits. Where there are experts, also
`router_margin`, the smallest distance of all tokens and layers between the last chosen and the first unchosen router
logit, and `router_rounding`, how far those logits are from themselves in f64 at most. With --margins these two are
measured again and everything else stays as it is. Seen with torch 2.15 and transformers 5.23; another processor gives
logits that differ in their last bits.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
TEXT = "Granite, gneiss & slate: 3 stones <weigh> 42 kg."
VOCAB = 264
COMMON = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
              num_hidden_layers=3, max_position_embeddings=256, bos_token_id=257, eos_token_id=258, pad_token_id=259)
GRANITE = COMMON | dict(embedding_multiplier=12.0, attention_multiplier=0.0625, residual_multiplier=0.22,
                        logits_scaling=6.0, rms_norm_eps=1e-5, tie_word_embeddings=True)
HYBRID = GRANITE | dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=16, mamba_n_groups=1, mamba_expand=2,
                        mamba_d_conv=4, mamba_chunk_size=8, num_hidden_layers=4, shared_intermediate_size=40,
                        num_experts_per_tok=0, num_local_experts=0, intermediate_size=40)
MIXED = ["mamba", "mamba", "attention", "mamba"]
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=128)
FAMILIES = {
    "llama3": ("llama", COMMON | dict(tie_word_embeddings=True, head_dim=16, rope_theta=5e5, rope_scaling=LLAMA3,
                                     rms_norm_eps=1e-5)),
    "qwen2": ("qwen2", COMMON | dict(tie_word_embeddings=True, rope_theta=1e6, rms_norm_eps=1e-6)),
    "qwen3": ("qwen3", COMMON | dict(tie_word_embeddings=False, head_dim=16, rope_theta=1e6, rms_norm_eps=1e-6)),
    "mistral": ("mistral", COMMON | dict(tie_word_embeddings=False, sliding_window=64, rope_theta=1e4)),
    "gemma2": ("gemma2", COMMON | dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=8, num_hidden_layers=4,
                                      rms_norm_eps=1e-6)),
    "granite3": ("granite", GRANITE | dict(rope_theta=1e7)),
    "granite3-moe": ("granitemoe", GRANITE | dict(num_local_experts=6, num_experts_per_tok=2, rope_theta=1e4)),
    "granite4": ("granitemoehybrid", HYBRID | dict(layer_types=["attention"] * 4, position_embedding_type="rope")),
    "granite4-h": ("granitemoehybrid", HYBRID | dict(layer_types=MIXED, position_embedding_type="nope")),
    "granite4-h-moe": ("granitemoehybrid", HYBRID | dict(layer_types=MIXED, position_embedding_type="nope",
                                                        num_local_experts=6, num_experts_per_tok=2,
                                                        intermediate_size=16)),
}


def published(config):
    """transformers 5's spelling undone."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters", None) or {})
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "granitemoehybrid":
        names = {"linear_attention": "mamba", "full_attention": "attention"}
        config["layer_types"] = [names.get(kind, kind) for kind in config["layer_types"]]
        config.pop("time_step_limit", None)
        config.pop("rope_scaling", None)
    elif config["model_type"] != "gemma2":
        config.pop("layer_types", None)
    return config


def configuration(kind, keys):
    """transformers 5's object."""
    keys = dict(keys)
    theta = keys.pop("rope_theta", None)
    if theta is not None:
        keys["rope_parameters"] = {"rope_theta": theta} | keys.pop("rope_scaling", {"rope_type": "default"})
    return AutoConfig.for_model(kind, **keys)


def tokenizer(out):
    """Bytes as GPT-2 spells them, a merge and four special tokens: the vocabulary is padded beyond them."""
    byte = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate([*byte, "ne"])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[("n", "e")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<turn>"]
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    made.save(str(out / "tokenizer.json"))
    template = ("{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
                "{% if add_generation_prompt %}<turn>assistant\n{% endif %}")
    config = dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>", add_bos_token=False, chat_template=template,
                  clean_up_tokenization_spaces=False, model_max_length=256, tokenizer_class="PreTrainedTokenizerFast")
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    return made


def weights(model):
    """Larger than a fresh model's, so that every part is seen in the logits."""
    for name, p in model.named_parameters():
        if name.endswith("A_log"):
            p.copy_(torch.empty_like(p).uniform_(0.0, 2.5))
        elif name.endswith("norm.weight") or "layernorm" in name:
            p.add_(torch.randn_like(p) * 0.2)
        elif p.dim() == 1:
            p.copy_(torch.randn_like(p) * 0.3)
        else:
            p.copy_(torch.randn_like(p) * (1.5 / p.shape[-1] ** 0.5))


def routing(model, ids):
    """Logits of every router and what is chosen by them, layer by layer."""
    seen = []
    routers = [module for name, module in model.named_modules() if name.endswith("block_sparse_moe.router")]
    hooks = [router.register_forward_hook(lambda router, given, out: seen.append((out[0], router.top_k)))
             for router in routers]
    with torch.no_grad():
        model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(routers)
    return seen


def margins(out, ids):
    """Whether rounding may choose another expert; nothing where there are none."""
    def run(dtype):
        model = AutoModelForCausalLM.from_pretrained(
            out, dtype=dtype, attn_implementation="eager", experts_implementation="eager")
        return routing(model, ids)

    seen, exact = run(torch.float32), run(torch.float64)
    if not seen:
        return {}
    ordered = [(logits.sort(-1, descending=True).values, chosen) for logits, chosen in seen]
    margin = min((logits[:, chosen - 1] - logits[:, chosen]).min() for logits, chosen in ordered)
    rounding = max((a.double() - b.double()).abs().max() for (a, _), (b, _) in zip(seen, exact))
    print(f"{out.name}: experts are chosen by {margin:.2e}, rounding is {rounding:.1e}", flush=True)
    return {"router_margin": margin.reshape(1).float(), "router_rounding": rounding.reshape(1).float()}


def measure_margins(name):
    golden = load_file(HERE / name / "golden.safetensors")
    found = margins(HERE / name, golden["ids"][None].long())
    if found:
        save_file(golden | found, HERE / name / "golden.safetensors")


def make(name, kind, keys):
    out = HERE / name
    out.mkdir(exist_ok=True)
    torch.manual_seed(sum(name.encode()))
    config = configuration(kind, keys)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        weights(model)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    saved = json.loads((out / "config.json").read_text())
    (out / "config.json").rename(out / "config.v5.json")
    (out / "config.json").write_text(json.dumps(published(saved), indent=1, sort_keys=True) + "\n")
    # Read back, for a cast has rounded buffers too, the frequencies of RoPE among them.
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager")
    ids = torch.tensor([tokenizer(out).encode(TEXT, add_special_tokens=False).ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    golden = {"ids": ids[0].to(torch.int32), "logits": logits[0].contiguous()}
    save_file(golden | margins(out, ids), out / "golden.safetensors")
    tensors = load_file(out / "model.safetensors")
    print(f"{name}: {sum(t.numel() for t in tensors.values())} weights, logits' std {logits.std():.3f}", flush=True)


def main():
    if sys.argv[1:2] == ["--margins"]:
        for name in sys.argv[2:] or FAMILIES:
            measure_margins(name)
        return
    (HERE / "text.txt").write_text(TEXT)
    for name in sys.argv[1:] or FAMILIES:
        make(name, *FAMILIES[name])


if __name__ == "__main__":
    main()
