"""A Llama of two layers with weights that mean nothing, as transformers writes it."""

import shutil

import torch
from transformers import LlamaConfig, LlamaForCausalLM

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]


def make(out, tokenizer):
    """Rows are whole K-quant blocks, frequencies are scaled as Llama 3's, the vocabulary is that of the checkpoint
    `tokenizer`."""
    torch.manual_seed(0)
    scaling = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    config = LlamaConfig(
        vocab_size=49152, hidden_size=256, intermediate_size=768, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=4, head_dim=32, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True,
        initializer_range=0.1, bos_token_id=1, eos_token_id=2, rope_parameters={"rope_theta": 500000.0, **scaling})
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    model.save_pretrained(out)
    for name in TOKENIZER:
        shutil.copy(tokenizer / name, out)
    return out
