"""Writes a folder with random weights in the shape of Llama-3.1-8B, for measurements (needs torch and safetensors).

  random_llama.py OUT TOKENIZER_FOLDER      the tokenizer may be any with fewer than 128,256 entries
"""
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors.torch import save_file

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WIDTH, FFN, LAYERS, VOCAB, KV = 4096, 14336, 32, 128256, 1024


def random(*shape):
    return (torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16) * 0.02).cpu()


def ones():
    return torch.ones(WIDTH, dtype=torch.bfloat16)


def layer(i):
    linear = {
        "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (KV, WIDTH), "self_attn.v_proj": (KV, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (FFN, WIDTH), "mlp.up_proj": (FFN, WIDTH),
        "mlp.down_proj": (WIDTH, FFN),
    }
    tensors = {f"model.layers.{i}.{name}.weight": random(*shape) for name, shape in linear.items()}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"model.layers.{i}.{norm}.weight"] = ones()
    return tensors


def main(out, tokenizer):
    os.makedirs(out, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(f"{tokenizer}/{name}", f"{out}/{name}")
    config = dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=WIDTH, intermediate_size=FFN,
        num_hidden_layers=LAYERS, num_attention_heads=32, num_key_value_heads=8, vocab_size=VOCAB,
        max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0, hidden_act="silu",
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
    with open(f"{out}/config.json", "w") as file:
        json.dump(config, file, indent=2)
    torch.manual_seed(0)
    weight_map = {}
    with ThreadPoolExecutor(8) as pool:
        for i in range(LAYERS + 1):
            tensors = layer(i) if i < LAYERS else {
                "model.embed_tokens.weight": random(VOCAB, WIDTH), "lm_head.weight": random(VOCAB, WIDTH),
                "model.norm.weight": ones()}
            name = f"model-{i + 1:05d}-of-{LAYERS + 1:05d}.safetensors"
            weight_map.update({key: name for key in tensors})
            pool.submit(save_file, tensors, f"{out}/{name}", {"format": "pt"})
    with open(f"{out}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


main(sys.argv[1], sys.argv[2])
