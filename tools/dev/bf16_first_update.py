"""What an adapter changes in a Llama's loss, where bf16 rounds LoRA's shares in one way or another.

    tools/dev/bf16_first_update.py MODEL ADAPTER DOCUMENTS [--scales=1,10]

MODEL and ADAPTER are folders with one model.safetensors and an adapter of all seven linear layers,
say after one step (trainer/train --max_steps=1 --dtype=fp32); DOCUMENTS has a JSON object a line:
"ids", and "mask", 1 where a token is supervised. The forward pass is numpy's in fp32, rounded to
bf16 where a GPU stores it. B is multiplied by each of the scales. How a share joins its product y:

    product    y + share, rounded once
    stored     the rounded y + share, rounded again; what cuBLASLt does on Hopper where beta is 1
    reader     the rounded y + share, in fp32, by what reads it: RoPE, the gated unit, the residual
"""

import argparse
import json
import struct
from multiprocessing import Pool

import numpy as np

# q and k, v, gate and up, o and down
WAYS = {
    "fp32": None,
    "o and down with the residual": ("stored", "stored", "reader", "reader"),
    "o and down in the product": ("stored", "stored", "reader", "product"),
    "so, and q, k, v with RoPE": ("reader", "reader", "reader", "product"),
    "so, and q, k, v in the product": ("product", "product", "reader", "product"),
    "all in the product": ("product",) * 4,
}


def load(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tensors = json.loads(file.read(length))
        data = file.read()
    tensors.pop("__metadata__", None)
    out = {}
    for name, tensor in tensors.items():
        part = data[slice(*tensor["data_offsets"])]
        if tensor["dtype"] == "BF16":
            values = (np.frombuffer(part, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(part, np.float32)
        out[name] = values.reshape(tensor["shape"])
    return out


def bf16(x):
    """To nearest even, as fp32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


class Model:
    def __init__(self, folder, adapter):
        self.config = json.load(open(f"{folder}/config.json"))
        self.weights = {None: load(f"{folder}/model.safetensors")}
        self.weights["bf16"] = {name: bf16(w) for name, w in self.weights[None].items()}
        self.lora = load(f"{adapter}/adapter_model.safetensors")
        self.names = list(self.lora)
        lora = json.load(open(f"{adapter}/adapter_config.json"))
        self.scale = lora["lora_alpha"] / lora["r"]

    def adapter_of(self, layer, which):
        (name,) = [n for n in self.names if f"layers.{layer}." in n and f"{which}.lora_A" in n]
        return self.lora[name], self.lora[name.replace("lora_A", "lora_B")]


def nll(model, document, way, scale):
    """The sum over supervised tokens, and how many there are."""
    config, ids = model.config, np.array(document["ids"])
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim, tokens = config["hidden_size"] // heads, len(ids)
    weights = model.weights["bf16" if way else None]
    rounded = bf16 if way else lambda x: x
    ways = dict(zip(("qk", "v", "gate_up", "o_down"), way or ("product",) * 4))

    def norm(x, weight):
        rstd = 1 / np.sqrt(np.mean(np.square(x, dtype=np.float64), -1, keepdims=True)
                           + config["rms_norm_eps"])
        return rounded(rounded(x * rstd.astype(np.float32)) * weight)

    def linear(x, layer, name, group):
        y = x @ weights[f"model.layers.{layer}.{name}.weight"].T
        if scale == 0:
            return rounded(y)
        a, b = model.adapter_of(layer, name)
        share = rounded(x @ rounded(a).T) @ rounded(b * (model.scale * scale)).T
        if ways[group] == "product":
            return rounded(y + rounded(share))
        return rounded(rounded(y) + share) if ways[group] == "stored" else rounded(y) + share

    frequencies = config["rope_theta"] ** (-np.arange(0, dim, 2, dtype=np.float32) / dim)
    angles = np.arange(tokens, dtype=np.float32)[:, None, None] * frequencies
    cosines, sines = np.cos(angles), np.sin(angles)

    def rope(x):
        low, high = x[..., : dim // 2], x[..., dim // 2:]
        return rounded(np.concatenate([low * cosines - high * sines,
                                       high * cosines + low * sines], -1))

    stream = rounded(weights["model.embed_tokens.weight"][ids])
    causal = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    for i in range(config["num_hidden_layers"]):
        x = norm(stream, weights[f"model.layers.{i}.input_layernorm.weight"])
        q = rope(linear(x, i, "self_attn.q_proj", "qk").reshape(tokens, heads, dim))
        k = rope(linear(x, i, "self_attn.k_proj", "qk").reshape(tokens, kv_heads, dim))
        v = rounded(linear(x, i, "self_attn.v_proj", "v")).reshape(tokens, kv_heads, dim)
        mixed = np.empty((tokens, heads, dim), np.float32)
        for h in range(heads):
            kv = h * kv_heads // heads
            scores = q[:, h] @ k[:, kv].T / np.sqrt(dim) + causal
            p = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, h] = rounded(p) @ v[:, kv] / p.sum(-1, keepdims=True)
        o = linear(rounded(mixed).reshape(tokens, -1), i, "self_attn.o_proj", "o_down")
        stream = rounded(stream + o)
        x = norm(stream, weights[f"model.layers.{i}.post_attention_layernorm.weight"])
        gate = linear(x, i, "mlp.gate_proj", "gate_up")
        unit = rounded(gate / (1 + np.exp(-gate)) * linear(x, i, "mlp.up_proj", "gate_up"))
        stream = rounded(stream + linear(unit, i, "mlp.down_proj", "o_down"))
    at = np.flatnonzero(document["mask"]) - 1
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    x = norm(stream, weights["model.norm.weight"])
    logits = rounded(x[at] @ head.T).astype(np.float64)
    most = logits.max(-1, keepdims=True)
    sums = np.log(np.exp(logits - most).sum(-1)) + most[:, 0]
    return (sums - logits[np.arange(len(at)), ids[at + 1]]).sum(), len(at)


def work(job):
    return nll(MODEL, *job)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("documents")
    parser.add_argument("--scales", default="1,10")
    parser.add_argument("--processes", type=int, default=3)
    args = parser.parse_args()
    MODEL = Model(args.model, args.adapter)
    documents = [json.loads(line) for line in open(args.documents)]
    with Pool(args.processes) as pool:
        def loss(way, scale):
            sums = pool.map(work, [(document, way, scale) for document in documents], chunksize=1)
            return np.sum(sums, 0)

        without = {name: loss(way, 0) for name, way in WAYS.items()
                   if name in ("fp32", "all in the product")}
        for scale in map(float, args.scales.split(",")):
            for name, way in WAYS.items():
                nats, tokens = loss(way, scale)
                start, _ = without["all in the product" if way else "fp32"]
                print(f"B x {scale:g}  {name:32} {(nats - start) / tokens:+.5f} of "
                      f"{start / tokens:.5f}, {int(tokens)} tokens", flush=True)
