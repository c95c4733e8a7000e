"""Writes goldens of random small models: every family with random shapes, config options and LoRA
options, as transformers and PEFT compute them in float64 (needs torch, transformers and peft).

  random_goldens.py OUT [--count 10] [--seed 0] [--family llama] [--saved]
                      OUT/goldens/FAMILY-SEED/…, which //tests:golden_check reads

A case is a function of family and seed alone; with --saved its folder is as transformers writes it,
in F32, F16 or BF16 and in shards. Beside it stands how far transformers and PEFT themselves are
from it in bf16."""
import argparse
import json
import math
import os
import random
import shutil
import warnings

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from random_configs import ARCHITECTURES, FAMILIES, lora_config, model_config
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()

# eps is large: with a small one AdamW makes steps of the noise of gradients that are zero.
STEPS, RATE, DECAY, EPS = 4, 2e-3, 0.01, 1e-4


def randomize(model, generator):
    """Values that make every option matter; float32 numbers."""
    with torch.no_grad():
        seen = set()
        for name, p in model.named_parameters():
            if p.data_ptr() in seen:
                continue
            seen.add(p.data_ptr())
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float32)
            if "norm" in name:
                value = 0.3 * noise + (0 if "gemma" in model.config.model_type else 1)
            elif p.dim() == 1:
                value = 0.3 * noise
            elif "embed_tokens" in name:
                value = noise * (0.3 if "gemma" in model.config.model_type else 1)
            else:
                value = 0.8 * noise / math.sqrt(p.shape[1])
            p.copy_(value)


def reset_rope(model):
    """What a dynamic RoPE remembers of longer documents."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_inv_freq"):
            module.max_seq_len_cached = module.original_max_seq_len
            module.inv_freq = module.original_inv_freq.clone()  # it is written to in place
        for kind in ("full_attention", "sliding_attention"):
            if hasattr(module, f"{kind}_original_inv_freq"):
                setattr(module, f"{kind}_inv_freq",
                        getattr(module, f"{kind}_original_inv_freq").clone())
                setattr(module, f"{kind}_max_seq_len_cached", module.original_max_seq_len)


def logits_of(model, ids):
    reset_rope(model)
    return model(input_ids=torch.tensor([ids])).logits[0]


def loss_of(model, documents, count):
    total = 0
    for ids, labels in documents:
        logits = logits_of(model, ids)
        for i in range(1, len(ids)):
            if labels[i] >= 0:
                total = total - torch.log_softmax(logits[i - 1].double(), -1)[labels[i]]
    return total / count


def save_weights(model, folder):
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})


def save_as_transformers(model, folder, rng):
    """In one of the types that files have. Of no use afterwards: its RoPE is in that type, too."""
    model.to(rng.choice([torch.float32, torch.float16, torch.bfloat16]))
    model.save_pretrained(folder, max_shard_size=rng.choice(["5GB", "20KB", "5KB"]))


def write_case(out, family, seed, saved):
    rng = random.Random(f"{family}{seed}")
    folder = f"{out}/goldens/{family}-{seed:03d}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(f"{folder}/model")
    config, kind = model_config(rng, family)
    options = lora_config(rng, family, config)
    with open(f"{folder}/model/config.json", "w") as file:
        json.dump(config, file, indent=2)
    with open(f"{folder}/case.json", "w") as file:
        json.dump({"config": config, "lora": options}, file, indent=2)
    generator = torch.Generator().manual_seed(seed)
    read = AutoConfig.from_pretrained(f"{folder}/model")
    model = AutoModelForCausalLM.from_config(read, attn_implementation="eager").to(torch.float32)
    randomize(model, generator)
    if saved:
        save_as_transformers(model, f"{folder}/model", rng)
        model = AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=torch.float32,
                                                     attn_implementation="eager")
    else:
        save_weights(model, f"{folder}/model")
    model = model.double().eval()
    documents = []
    for length in (41, 3, 26):
        ids = [rng.randrange(config["vocab_size"]) for _ in range(length)]
        labels = [-100] + [t if rng.random() < 0.8 else -100 for t in ids[1:]]
        documents.append((ids, labels))
    documents[1] = (documents[1][0], [-100] + documents[1][0][1:])
    count = sum(label >= 0 for _, labels in documents for label in labels)
    golden = {}
    for i, (ids, labels) in enumerate(documents):
        golden[f"doc{i}.input_ids"] = torch.tensor(ids)
        golden[f"doc{i}.labels"] = torch.tensor(labels)
        golden[f"doc{i}.logits_base"] = logits_of(model, ids).detach().float()

    peft = get_peft_model(model, LoraConfig(**options))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float32)
            if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
                p.copy_((noise * 0.2 / math.sqrt(p.shape[1])).float())
            elif "lora_magnitude" in name:
                p.copy_((p * (1 + 0.2 * noise)).float())
            elif "modules_to_save" in name:
                p.copy_((p + 0.05 * noise).float())
    peft.save_pretrained(f"{folder}/adapter_init", save_embedding_layers=False)
    saved = load_file(f"{folder}/adapter_init/adapter_model.safetensors")
    save_file({k: v.float() for k, v in saved.items()},
              f"{folder}/adapter_init/adapter_model.safetensors", {"format": "pt"})
    tensors, history = train(peft, documents, count)
    golden.update(tensors)
    save_file({k: v.contiguous() for k, v in golden.items()}, f"{folder}/golden.safetensors")
    case = dict(lr=RATE, betas=[0.9, 0.999], eps=EPS, weight_decay=DECAY,
                num_documents=len(documents), num_supervised_tokens=count, history=history,
                case={"config": config,
                      "lora": options}, bf16=bf16_differences(folder, documents, count, golden,
                                                              history))
    with open(f"{folder}/golden.json", "w") as file:
        json.dump(case, file, indent=1)


def train(peft, documents, count):
    """Logits, first gradients, final adapter as a golden has them; loss and norm of every step."""
    trained = {}  # name in the file -> parameter
    for name, p in peft.named_parameters():
        if p.requires_grad:
            short = name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector")
            trained[short.replace(".default", "").replace("modules_to_save.", "")] = p
    tensors = {
        f"doc{i}.logits_adapter": logits_of(peft, ids).detach().float()
        for i, (ids, _) in enumerate(documents)
    }
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE, betas=(0.9, 0.999), eps=EPS,
                                  weight_decay=DECAY)
    history = []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = loss_of(peft, documents, count)
        loss.backward()
        grads = {
            name: p.grad if p.grad is not None else torch.zeros_like(p)
            for name, p in trained.items()
        }
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads.values()))
        history.append({"step": step, "loss": float(loss), "grad_norm": norm})
        if step == 0:
            tensors.update({f"grad.{name}": g.clone() for name, g in grads.items()})
        if step < STEPS:
            optimizer.step()
    tensors.update({f"final.{name}": p.detach().clone() for name, p in trained.items()})
    return tensors, history


def bf16_differences(folder, documents, count, golden, history):
    """How far transformers and PEFT are from it with the model in bf16, adapters in fp32."""
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=torch.bfloat16,
                                                 attn_implementation="eager").eval()
    tensors = {
        f"doc{i}.logits_base": logits_of(model, ids).detach() for i, (ids, _) in enumerate(documents)
    }
    more, steps = train(
        PeftModel.from_pretrained(model, f"{folder}/adapter_init", is_trainable=True), documents,
        count)
    tensors.update(more)

    def worst(kind
             ):  # relative to the largest element: of all documents for logits, else of each matrix
        off = {
            key: (tensors[key].double() - golden[key].double()).abs().max().item()
            for key in golden
            if kind in key
        }
        size = {key: golden[key].double().abs().max().item() for key in off}
        if kind == "logits":
            return max(off.values()) / max(value for key, value in size.items() if "base" in key)
        return max(off[key] / (size[key] or 1) for key in off)

    def relative(what):
        return max(abs(got[what] / want[what] - 1) for got, want in zip(steps, history))

    return dict(logits=worst("logits"), loss=relative("loss"), grad_norm=relative("grad_norm"),
                gradient=worst("grad."), final_adapter=worst("final."))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", default="")
    parser.add_argument("--saved", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for family in FAMILIES:
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            if arguments.family in ("", family):
                try:
                    write_case(arguments.out, family, seed, arguments.saved)
                except Exception as error:  # a combination that transformers or PEFT refuse
                    print(f"{family}-{seed:03d}: {type(error).__name__}: {str(error)[:300]}",
                          flush=True)


if __name__ == "__main__":
    main()
