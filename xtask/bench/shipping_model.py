#!/usr/bin/env python3
"""Writes a Llama with the sizes of Qwen 2.5 1.5B and random weights, and a LoRA of rank 16 for it as PEFT saves it.

  shipping_model.py TOKENIZER MODEL ADAPTER

TOKENIZER is a directory with a tokenizer that llama.cpp's converter knows for a Llama; nothing is generated. What is
there already is left as it is.
"""

import pathlib
import shutil
import sys

import peft
import torch
import transformers


def main():
    tokenizer, model_dir, adapter_dir = map(pathlib.Path, sys.argv[1:])
    torch.manual_seed(0)
    if not (model_dir / "model.safetensors").exists():
        config = transformers.LlamaConfig(
            vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
            num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True,
            dtype="bfloat16", architectures=["LlamaForCausalLM"], bos_token_id=1, eos_token_id=2,
        )
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(model_dir)
        for file in tokenizer.glob("tokenizer*"):
            shutil.copy(file, model_dir)
    if not (adapter_dir / "adapter_model.safetensors").exists():
        model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16)
        lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = peft.get_peft_model(model, lora)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.01)
        model.save_pretrained(adapter_dir)


if __name__ == "__main__":
    main()
