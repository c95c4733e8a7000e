"""Trains random models and compares runs that must agree (needs numpy).

  random_models.py TRAIN TOKENIZER_FOLDER OUT [--device=cuda] [--count=20] [--seed=0] [--side=8]
                   [--seconds=600] [--fp8]

TRAIN: the trainer. The models have two layers, and widths, heads, ranks and options as no golden
has them: large enough for every fused kernel of a GPU, odd enough for the general ones. The trained
bytes must be the same whatever --gradient_checkpointing is, and on a CPU for 1, 2 and 3 ranks and
any number of threads. On a GPU, in fp32 and bf16, losses and gradient norms must be those of the
CPU within LIMITS; their largest relative differences are printed. With --fp8 sizes are such that
linear layers may be stored in FP8, and they are, on both; a GPU then has bf16 alone.

What differs is printed when it is found. --seconds count from the start of this program: what has
not ended by then is killed and not counted."""
import argparse
import json
import math
import os
import random
import shutil
import struct
import subprocess
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy

START = time.monotonic()
STEPS = 3
LONGEST = 120  # seconds that no run of the trainer takes
# On a GPU, relative differences of losses and of gradient norms. What shows a wrong kernel, not a
# bound of rounding.
LIMITS = {"fp32": (2e-5, 2e-3), "bf16": (0.02, 0.15)}


def fp8_case(seed):
    """A case whose linear layers may be stored in FP8: sizes are rounded up to multiples of 16."""
    config, options = random_case(seed)
    # Where a head's width is the hidden size by the number of heads (qwen2), that is.
    heads = 1 if "head_dim" in config else config["num_attention_heads"]
    for name, unit in (("hidden_size", 16 * heads), ("intermediate_size", 16), ("head_dim", 16)):
        if name in config:
            config[name] += -config[name] % unit
    for name in ("use_dora", "train", "gradient_sum"):  # which want the weights themselves
        options.pop(name, None)
    return config, {**options, "base_dtype": "fp8"}


def random_case(seed):
    """A config, and the trainer's options."""
    rng = random.Random(seed)
    kind = rng.choice(["llama", "llama", "qwen2", "qwen3", "gemma2"])
    kv = rng.choice([1, 1, 2, 3])
    head_dim = rng.choice([16, 40, 64, 64, 80, 96, 128, 128, 160, 256])
    config = dict(
        model_type=kind, hidden_size=rng.choice([64, 128, 192, 200, 256, 320, 384, 576]),
        intermediate_size=rng.choice([96, 160, 172, 256, 288, 320, 512, 544, 1000, 1024]),
        num_attention_heads=kv * rng.choice([1, 2, 3, 4]), num_key_value_heads=kv,
        head_dim=head_dim, vocab_size=rng.choice([512, 515, 1001, 4096]),
        tie_word_embeddings=rng.choice([True, False]), num_hidden_layers=2,
        max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu",
        bos_token_id=1, eos_token_id=2, torch_dtype="float32",
        architectures=[kind.capitalize() + "ForCausalLM"])
    if kind == "gemma2":
        config.update(hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=head_dim,
                      attn_logit_softcapping=20.0, final_logit_softcapping=15.0,
                      sliding_window=rng.choice([17, 64]))
    elif kind == "qwen2":  # which has no head_dim of its own
        config["hidden_size"] = config["num_attention_heads"] * config.pop("head_dim")
    rank = rng.choice(
        [1, 2, 3, 4, 5, 8, 8, 12, 16, 16, 16, 20, 24, 32, 32, 40, 48, 64, 65, 100, 128, 256])
    options = {
        "lora_r": rank, "lora_alpha": 2 * rank, "global_batch_size": rng.choice([1, 3, 8]),
        "seed": seed, "learning_rate": 1e-3, "max_seq_length": rng.choice([128, 300]),
        "tokens_per_pack": rng.choice([320, 700, 2048]),
        "loss_on": rng.choice(["all", "completion"])
    }
    if rng.random() < 0.3:
        options["lora_dropout"] = 0.1
    if rng.random() < 0.15:
        options["use_dora"] = "true"
    for name, value in (("use_rslora", "true"), ("loraplus_lr_ratio", 4),
                        ("layers_to_transform", 1), ("weight_decay", 0.1), ("max_grad_norm", 0.1)):
        if rng.random() < 0.1:
            options[name] = value
    if rng.random() < 0.25:
        options["lora_target_modules"] = rng.choice(
            ["q_proj,v_proj", "o_proj,down_proj", "gate_proj,k_proj", "up_proj,lm_head"])
    elif rng.random() < 0.15:
        options["rank_pattern"] = '{"q_proj": 8, "gate_proj": 24, "down_proj": 40}'
    elif rng.random() < 0.1:
        options["modules_to_save"] = rng.choice(["lm_head", "embed_tokens"])
    elif rng.random() < 0.1:
        options.update(train="full", gradient_sum="exact")
        for name in ("lora_r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora",
                     "loraplus_lr_ratio", "layers_to_transform"):
            options.pop(name, None)
    return config, options


def tensors_of(config, seed):
    """Name to array."""
    rng = numpy.random.default_rng(seed)
    width, wide, kind = config["hidden_size"], config["intermediate_size"], config["model_type"]
    head_dim = config.get("head_dim", width // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim

    def matrix(rows, columns):
        return rng.normal(0, columns ** -0.5, (rows, columns)).astype(numpy.float32)

    def norm(size):
        return (rng.normal(0, 0.1, size) + (0 if kind == "gemma2" else 1)).astype(numpy.float32)

    out = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], width) *
                                     (1 if kind == "gemma2" else width**0.5 / 4),
        "model.norm.weight": norm(width)
    }
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = matrix(config["vocab_size"], width)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        for name, rows, columns in (("self_attn.q_proj", q, width), ("self_attn.k_proj", kv, width),
                                    ("self_attn.v_proj", kv, width), ("self_attn.o_proj", width, q),
                                    ("mlp.gate_proj", wide, width), ("mlp.up_proj", wide, width),
                                    ("mlp.down_proj", width, wide)):
            out[at + name + ".weight"] = matrix(rows, columns)
            if kind == "qwen2" and name[10:] in ("q_proj", "k_proj", "v_proj"):
                out[at + name + ".bias"] = matrix(1, rows)[0]
        for name in norms:
            out[at + name + ".weight"] = norm(width)
        if kind == "qwen3":
            for name in ("q_norm", "k_norm"):
                out[at + f"self_attn.{name}.weight"] = norm(head_dim)
    return out


def words(rng, most):
    count = int(math.exp(rng.uniform(0, math.log(most))))
    return " ".join("".join(rng.choices("aeinorstl", k=rng.randint(1, 6))) for _ in range(count))


def save(folder, config, tensors, tokenizer, seed):
    os.makedirs(folder)
    rng = random.Random(seed)
    with open(f"{folder}/lines.jsonl", "w") as file:
        for _ in range(30):
            file.write(json.dumps({"prompt": words(rng, 30), "completion": words(rng, 50)}) + "\n")
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        with open(f"{tokenizer}/{name}", "rb") as source, open(f"{folder}/{name}", "wb") as file:
            file.write(source.read())
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = dict(dtype="F32", shape=list(array.shape),
                            data_offsets=[offset, offset + array.nbytes])
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(f"{folder}/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


class OutOfTime(Exception):
    """--seconds have passed."""


def seconds_left(args):
    left = START + args.seconds - time.monotonic()
    if left <= 0:
        raise OutOfTime
    return left


def run(args, folder, options, name, **more):
    """Losses and gradient norms of each step and the trained bytes; or what the trainer said."""
    left = seconds_left(args)
    out = f"{folder}/{name}"
    flags = {
        "model": folder, "train_file": f"{folder}/lines.jsonl", "validation_split": 0,
        "eval_steps": 0, "save_steps": 0, "warmup_steps": 0, "lr_scheduler_type": "constant",
        "max_steps": STEPS, "nproc_per_node": 1, "num_threads": 2, "output_dir": out, **options,
        **more
    }
    try:
        result = subprocess.run([args.train, *(f"--{k}={v}" for k, v in flags.items())],
                                capture_output=True, text=True, timeout=min(left, LONGEST))
    except subprocess.TimeoutExpired as late:
        if left < LONGEST:
            raise OutOfTime from late
        return [f"did not end in {LONGEST} s"]
    if result.returncode != 0:
        return result.stderr.strip().splitlines()[-3:]
    with open(f"{out}/metrics.jsonl") as file:
        steps = [s for s in map(json.loads, file) if "step_time_s" in s]
    trained = [
        f for f in ("adapter_model.safetensors", "model.safetensors")
        if os.path.exists(f"{out}/{f}")
    ]
    with open(f"{out}/{trained[0]}", "rb") as file:
        return [s["loss"] for s in steps], [s["grad_norm"] for s in steps], file.read()


def difference(got, want):
    return max(
        abs(a - b) / max(abs(b), 1e-6) if a == a else float("inf") for a, b in zip(got, want))


def same_bytes(args, folder, options, name, first, variants):
    """What of the variants of a run is another run than the first."""
    wrong = []
    for i, more in enumerate(variants):
        got = run(args, folder, options, f"{name}.{i}", **more)
        if isinstance(got, list) or got[2] != first[2]:
            wrong.append(f"{more} is another run: {got[:2]}, first {first[:2]}")
    return wrong


def check(args, seed):
    """The largest differences by type, what is wrong, and the case."""
    seconds_left(args)
    config, options = case = (fp8_case if args.fp8 else random_case)(seed)
    folder = f"{args.out}/{seed}"
    try:
        save(folder, config, tensors_of(config, seed), args.tokenizer, seed)
        return *compare(args, seed, folder, options), case
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(args, seed, folder, options):
    want = run(args, folder, options, "cpu", device="cpu", dtype="fp32")
    if isinstance(want, list):
        return {}, f"the CPU refuses: {want}"
    found, wrong, mode = {}, [], random.Random(seed).choice(["cheap", "layer"])
    if args.device == "cpu":
        cpu = {"device": "cpu", "dtype": "fp32"}
        wrong = same_bytes(args, folder, options, "cpu", want,
                           [{**cpu, "gradient_checkpointing": mode}, {**cpu, "nproc_per_node": 2},
                            {**cpu, "nproc_per_node": 3, "num_threads": 1}])
    for dtype, limits in LIMITS.items() if args.device == "cuda" else ():
        if args.fp8 and dtype == "fp32":
            continue
        gpu = {"device": "cuda", "dtype": dtype}
        got = run(args, folder, options, dtype, **gpu, gradient_checkpointing="none")
        if isinstance(got, list):
            wrong.append(f"{dtype}: {got}")
            continue
        found[dtype] = (difference(got[0], want[0]), difference(got[1], want[1]))
        if not all(d <= limit for d, limit in zip(found[dtype], limits)):
            wrong.append(f"{dtype}: off by {found[dtype][0]:.1e} and {found[dtype][1]:.1e}: "
                         f"{got[:2]}, want {want[:2]}")
        wrong += same_bytes(args, folder, options, dtype, got,
                            [{**gpu, "gradient_checkpointing": mode}])
    return found, "; ".join(wrong)


def main():
    parser = argparse.ArgumentParser()
    for name in ("train", "tokenizer", "out"):
        parser.add_argument(name)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=8, help="cases side by side")
    parser.add_argument("--seconds", type=float, default=600, help="when to end")
    parser.add_argument("--fp8", action="store_true", help="linear layers in FP8")
    args = parser.parse_args()
    found, failed = [], 0
    with ThreadPoolExecutor(args.side) as pool:
        cases = {
            pool.submit(check, args, seed): seed
            for seed in range(args.seed, args.seed + args.count)
        }
        for done in as_completed(cases):
            try:
                differences, wrong, case = done.result()
            except OutOfTime:
                continue
            except Exception:  # of this program: the other cases still say what they find
                differences, wrong, case = {}, traceback.format_exc(), "no figures"
            found.append(differences)
            failed += wrong != ""
            if wrong:
                print(f"{cases[done]}: {wrong}\n    {case}", flush=True)
    for dtype in LIMITS:
        of_type = [differences[dtype] for differences in found if dtype in differences]
        for which, name in enumerate(("loss", "gradient norm") if of_type else ()):
            values = sorted(d[which] for d in of_type)
            print(f"{dtype}, {name}: median {values[len(values) // 2]:.1e}, "
                  f"largest {values[-1]:.1e} of {len(of_type)} models")
    print(f"{len(found) - failed} of {len(found)} agree, after {time.monotonic() - START:.0f} s; "
          f"of {args.count} to try")
    raise SystemExit(failed > 0 or not found)


main()
