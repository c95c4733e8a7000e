"""Writes a folder with random weights in a shape of Llama 3, for measurements (needs torch and
safetensors).

  random_llama.py OUT TOKENIZER_FOLDER [--shape=8b|1b] [--layers=N]

The tokenizer may be any with fewer than 128,256 entries. Shapes are those of `//tools:bench
--shape`; 1b ties its head."""
import argparse
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors.torch import save_file

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VOCAB = 128256
SHAPES = {
    "8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, head_dim=128,
               tie_word_embeddings=False),
    "1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, head_dim=64,
               tie_word_embeddings=True),
}


def random(*shape):
    return (torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16) * 0.02).cpu()


def layer(i, width, ffn, kv):
    linear = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv, width),
        "self_attn.v_proj": (kv, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (ffn, width),
        "mlp.up_proj": (ffn, width),
        "mlp.down_proj": (width, ffn),
    }
    tensors = {f"model.layers.{i}.{name}.weight": random(*shape) for name, shape in linear.items()}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"model.layers.{i}.{norm}.weight"] = torch.ones(width, dtype=torch.bfloat16)
    return tensors


def ends(width, tied):
    tensors = {
        "model.embed_tokens.weight": random(VOCAB, width),
        "model.norm.weight": torch.ones(width, dtype=torch.bfloat16)
    }
    if not tied:
        tensors["lm_head.weight"] = random(VOCAB, width)
    return tensors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("tokenizer")
    parser.add_argument("--shape", default="8b", choices=SHAPES)
    parser.add_argument("--layers", type=int)
    args = parser.parse_args()
    shape = dict(SHAPES[args.shape])
    if args.layers:
        shape["num_hidden_layers"] = args.layers
    os.makedirs(args.out, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(f"{args.tokenizer}/{name}", f"{args.out}/{name}")
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", **shape,
                  num_attention_heads=32, num_key_value_heads=8, vocab_size=VOCAB,
                  max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
                  hidden_act="silu", bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
    with open(f"{args.out}/config.json", "w") as file:
        json.dump(config, file, indent=2)
    torch.manual_seed(0)
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    weight_map = {}
    with ThreadPoolExecutor(8) as pool:
        for i in range(layers + 1):
            tensors = (layer(i, width, shape["intermediate_size"], 8 * shape["head_dim"])
                       if i < layers else ends(width, shape["tie_word_embeddings"]))
            name = f"model-{i + 1:05d}-of-{layers + 1:05d}.safetensors"
            weight_map.update({key: name for key in tensors})
            pool.submit(save_file, tensors, f"{args.out}/{name}", {"format": "pt"})
    with open(f"{args.out}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


main()
