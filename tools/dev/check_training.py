"""The trainer's command line beside torch, transformers and PEFT: random models and options of
LoRA, full training, optimizer and schedule; the loss, norm and rate of every step, the evaluation,
the weights at the end, and what evaluate and merge make of them (needs torch, transformers and
peft).

  bazel build //trainer:train //tools:evaluate //tools:merge
  check_training.py bazel-bin OUT [--count 10] [--seed 0] [--family llama]

The reference is in float64; a figure may be ten times as far from it as the same steps of torch in
float32 are. Failed cases stay in OUT."""
import argparse
import copy
import json
import math
import os
import random
import shutil
import subprocess

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from random_configs import ARCHITECTURES, FAMILIES, model_config, projections
from random_goldens import logits_of, randomize, save_as_transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

# What the trainer may be off beside ten times what torch in float32 is.
LIMITS = dict(rate=1e-12, loss=2e-5, norm=2e-3, eval=1e-5, weights=1e-3, evaluate=1e-5, merged=2e-5)


def run(binary, *flags):
    done = subprocess.run([binary, *flags], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(binary)} {' '.join(flags)}\n{done.stderr[-600:]}")
    return done.stdout


def base(folder, dtype=torch.float64):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype,
                                                attn_implementation="eager").eval()


def flags_of(options):
    def text(value):
        if isinstance(value, list):
            return ",".join(map(str, value))
        return json.dumps(value) if isinstance(value, (dict, bool)) else value

    return [f"--{name}={text(value)}" for name, value in options.items()]


def lora_options(rng, family, layers):
    """LoRA by the trainer's flags; the same for PEFT, whose names two differ from."""
    attention, mlp = projections(family)
    target = rng.choice([
        "all-linear", attention + mlp,
        rng.sample(attention + mlp, 2), [attention[0], "lm_head"],
        r".*layers\.0\..*(" + "|".join(mlp) + ")", ["embed_tokens", mlp[-1]]
    ])
    extra = {"lm_head", "embed_tokens"} & set(target if isinstance(target, list) else [])
    options = dict(lora_r=rng.choice([1, 4, 9]), lora_alpha=rng.choice([4, 16, 32]),
                   lora_target_modules=target, use_rslora=rng.random() < 0.3,
                   use_dora=rng.random() < 0.3 and "embed_tokens" not in extra,
                   init_lora_weights=rng.choice([True, True, "gaussian", False]))
    if rng.random() < 0.25 and not extra:
        options["modules_to_save"] = rng.choice([["lm_head"], ["embed_tokens"],
                                                 ["lm_head", "embed_tokens"]])
    if rng.random() < 0.3:
        options["rank_pattern"] = rng.choice([{mlp[-1]: 3}, {attention[-1]: 2, "layers.0.*": 5}])
    if rng.random() < 0.3:
        options["alpha_pattern"] = rng.choice([{mlp[-1]: 3}, {attention[0]: 8, "layers.0.*": 2.5}])
    if rng.random() < 0.3 and layers > 1 and isinstance(target, list):
        options["layers_to_transform"] = rng.choice([[0], [layers - 1]])
    return options


def training_options(rng, steps):
    # A small epsilon lets AdamW make steps of the noise of gradients that are zero in float64.
    options = dict(
        max_steps=steps, learning_rate=rng.choice([1e-3, 3e-3]),
        weight_decay=rng.choice([0, 0.01, 0.3]), max_grad_norm=rng.choice([0, 1, 0.05]),
        adam_beta1=rng.choice([0.9, 0.8]), adam_beta2=rng.choice([0.999, 0.95]),
        adam_epsilon=rng.choice([1e-4, 1e-3]), warmup_steps=rng.choice([0, 1, 3]),
        min_lr_rate=rng.choice([0, 0.1]), lr_scheduler_type=rng.choice([
            "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"
        ]), tokens_per_pack=rng.choice([48, 64, 8192]), nproc_per_node=rng.choice([1, 1, 2]),
        gradient_checkpointing=rng.choice(["none", "cheap", "layer", "auto"]))
    if options["lr_scheduler_type"] != "cosine_with_min_lr":
        del options["min_lr_rate"]
    return options


def rate(o, step):
    """nn/optim/lr_schedule.h, once more."""
    kind, warmup = o["lr_scheduler_type"], o["warmup_steps"]
    if kind == "constant":
        return o["learning_rate"]
    if step <= warmup:
        return o["learning_rate"] * step / warmup
    if kind == "constant_with_warmup":
        return o["learning_rate"]
    progress = min(1, (step - 1 - warmup) / max(1, o["max_steps"] - warmup))
    least = o.get("min_lr_rate", 0)
    falling = 1 - progress if kind == "linear" else least + (1 - least) * (
        1 + math.cos(math.pi * progress)) / 2
    return o["learning_rate"] * falling


def nll(model, ids, labels):
    at = [i for i in range(1, len(ids)) if labels[i] >= 0]
    logits = logits_of(model, ids)[[i - 1 for i in at]].double()
    return -torch.log_softmax(logits, -1).gather(1, torch.tensor([[labels[i]] for i in at])).sum()


def evaluation(model, ids):
    with torch.no_grad():
        return float(nll(model, ids, ids)) / (len(ids) - 1)


def train(model, documents, held_out, o):
    """Loss, norm and rate of every step, and the evaluation before and after."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    decays = [n for n in named if not ("norm" in n or "bias" in n)]
    groups = [
        dict(params=[p for n, p in named.items() if n in decays], weight_decay=o["weight_decay"]),
        dict(params=[p for n, p in named.items() if n not in decays], weight_decay=0)
    ]
    optimizer = torch.optim.AdamW(groups, lr=0, betas=(o["adam_beta1"], o["adam_beta2"]),
                                  eps=o["adam_epsilon"])
    count = sum(label >= 0 for _, labels in documents for label in labels)
    steps, evaluations = [], [evaluation(model, held_out)]
    for step in range(1, o["max_steps"] + 1):
        optimizer.zero_grad()
        loss = sum(nll(model, ids, labels) for ids, labels in documents) / count
        loss.backward()
        for p in named.values():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in named.values()))
        for group in optimizer.param_groups:
            group["lr"] = rate(o, step)
        if o["max_grad_norm"]:
            torch.nn.utils.clip_grad_norm_(named.values(), o["max_grad_norm"])
        optimizer.step()
        steps.append(dict(loss=float(loss.detach()), norm=norm, rate=rate(o, step)))
    return steps, evaluations + [evaluation(model, held_out)]


def file_name(name):
    return name.replace(".lora_magnitude_vector.default.weight",
                        ".lora_magnitude_vector").replace(".default",
                                                          "").replace("modules_to_save.", "")


def off(a, b):
    return abs(a / b - 1) if b else abs(a)


def differences(steps, evaluations, weights, reference, wanted):
    """The largest of each kind; weights relative to the largest element of their tensor."""
    out = {
        key: max(off(a[key], b[key]) for a, b in zip(steps, reference[0]))
        for key in ("loss", "norm", "rate")
    }
    out["eval"] = max(off(a, b) for a, b in zip(evaluations, reference[1]))
    out["weights"] = max(
        float((weights[n].double() - p).abs().max() / (p.abs().max() or 1))
        for n, p in wanted.items())
    return out


def weights_in(folder):
    out = {}
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            out.update(load_file(f"{folder}/{name}"))
    return out


def fresh_adapter(bin, common, options, folder, model):
    """The trainer's first adapter, in PEFT, which must make the same parameters of the same options."""
    run(f"{bin}/trainer/train", *common, *flags_of(options), "--learning_rate=0", "--max_steps=1",
        "--eval_steps=0", f"--output_dir={folder}")
    names = dict(lora_r="r", lora_target_modules="target_modules")
    same = get_peft_model(
        base(model),
        LoraConfig(task_type="CAUSAL_LM", **{names.get(k, k): v for k, v in options.items()}))
    want = {file_name(n): p.shape for n, p in same.named_parameters() if p.requires_grad}
    got = {
        name: value.shape
        for name, value in load_file(f"{folder}/adapter_model.safetensors").items()
    }
    assert want == got, f"parameters: {set(want.items()) ^ set(got.items())}"
    peft = PeftModel.from_pretrained(base(model), folder, is_trainable=True).double()
    for name, module in same.named_modules():
        if isinstance(getattr(module, "scaling", None), dict):
            assert abs(module.scaling["default"] -
                       peft.get_submodule(name).scaling["default"]) < 1e-12, f"{name}: scaling"
    return peft


def check(bin, out, family, seed):
    rng = random.Random(f"training {family}{seed}")
    folder = f"{out}/{family}-{seed:03d}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model = f"{folder}/model"
    config, _ = model_config(rng, family)
    config["max_position_embeddings"] = max(64,
                                            config["max_position_embeddings"])  # no document is cut
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config),
                                           attn_implementation="eager").to(torch.float32)
    randomize(net, torch.Generator().manual_seed(seed))
    save_as_transformers(net, model, rng)

    documents = []
    for _ in range(rng.choice([3, 6, 11])):
        ids = [
            rng.randrange(7, config["vocab_size"]) for _ in range(rng.choice([2, 3, 9, 17, 33, 48]))
        ]
        documents.append(
            (ids, [-100, ids[1]] + [t if rng.random() < 0.7 else -100 for t in ids[2:]]))
    held_out = documents[0][0][::-1]
    for name, lines in (("train", documents), ("held_out", [(held_out, [-100] + held_out[1:])])):
        with open(f"{folder}/{name}.jsonl", "w") as file:
            file.writelines(
                json.dumps({"input_ids": ids, "labels": labels}) + "\n" for ids, labels in lines)
    common = [
        f"--model={model}", f"--train_file={folder}/train.jsonl",
        f"--validation_file={folder}/held_out.jsonl", f"--global_batch_size={len(documents)}",
        "--device=cpu", "--num_threads=1", f"--cache_dir={out}/cache"
    ]

    full = rng.random() < 0.3
    lora = {"train": "full"} if full else lora_options(rng, family, config["num_hidden_layers"])
    reference = base(model) if full else fresh_adapter(bin, common, lora, f"{folder}/start", model)
    options = training_options(rng, rng.choice([2, 5, 8]))
    run(f"{bin}/trainer/train", *common, *flags_of(lora), *flags_of(options),
        f"--output_dir={folder}/run")
    with open(f"{folder}/run/metrics.jsonl") as file:
        records = [json.loads(line) for line in file]
    steps = [
        dict(loss=r["loss"], norm=r["grad_norm"], rate=r["learning_rate"])
        for r in records
        if "loss" in r
    ]
    evaluations = [r["eval_loss"] for r in records if "eval_loss" in r]
    assert len(steps) == options["max_steps"]

    single = copy.deepcopy(reference).float()
    in_float = train(single, documents, held_out, options)
    in_double = train(reference, documents, held_out, options)
    wanted = {file_name(n): p.detach() for n, p in reference.named_parameters() if p.requires_grad}
    weights = weights_in(f"{folder}/run")
    assert set(weights) == set(wanted), f"tensors: {set(weights) ^ set(wanted)}"
    figures = differences(steps, [evaluations[0], evaluations[-1]], weights, in_double, wanted)
    torchs = differences(*in_float, {file_name(n): p.detach() for n, p in single.named_parameters()},
                         in_double, wanted)
    if full and net.dtype != torch.float32:
        torchs["weights"] += 2**-8  # stored in 16 bits
    if not full:
        last = json.loads(
            run(f"{bin}/tools/evaluate", f"--model={model}", f"--adapter={folder}/run",
                "--device=cpu", f"--validation_file={folder}/held_out.jsonl").splitlines()[-1])
        run(f"{bin}/tools/merge", f"--model={model}", f"--adapter={folder}/run",
            f"--output_dir={folder}/merged", "--dtype=fp32", "--noprobe")
        figures["evaluate"] = off(last["loss"], in_double[1][-1])
        figures["merged"] = off(evaluation(base(f"{folder}/merged"), held_out), in_double[1][-1])
    wrong = [
        k for k, v in figures.items() if not v <= LIMITS[k] + 10 * torchs.get(k, torchs["eval"])
    ]
    print(f"{family}-{seed:03d} {'full' if full else 'lora':5}",
          "  ".join(f"{k} {v:.0e}" for k, v in figures.items()),
          f"  DIFFERS in {wrong}; torch in float32: {torchs}" if wrong else "", flush=True)
    if not wrong:
        shutil.rmtree(folder)
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        for family in FAMILIES:
            if arguments.family in ("", family):
                try:
                    wrong += check(os.path.abspath(arguments.bin), os.path.abspath(arguments.out),
                                   family, seed)
                except Exception as error:  # refused by one of the two: which, is to be read
                    print(f"{family}-{seed:03d}: {type(error).__name__}: {str(error)[-700:]}",
                          flush=True)
    return wrong > 0


if __name__ == "__main__":
    raise SystemExit(main())
