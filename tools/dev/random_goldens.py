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
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text")
ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM"
}
# eps is large: with a small one AdamW makes steps of the noise of gradients that are zero.
STEPS, RATE, DECAY, EPS = 4, 2e-3, 0.01, 1e-4


def rope(rng, family, head_dim, config):
    """RoPE in one of its spellings, into config."""
    theta = rng.choice([10000.0, 500000.0, 333.0])
    kinds = ["default", "default", "linear", "llama3", "dynamic"]
    if family == "phi3":
        kinds = ["default", "longrope"]
    elif family in ("llama", "qwen2", "qwen3"):
        kinds += ["yarn", "longrope"]
    kind = rng.choice(kinds)
    longest = config["max_position_embeddings"]
    scaling = {"rope_type": kind}
    share = 1.0
    if family == "phi3" and rng.random() < 0.5:
        share = rng.choice([0.5, 0.75])
        config["partial_rotary_factor"] = share
    if kind in ("linear", "dynamic"):
        scaling["factor"] = rng.choice([2.0, 4.0, 2.5])
        if kind == "dynamic" and rng.random() < 0.7:
            config["max_position_embeddings"] = 16  # shorter than the documents
    elif kind == "llama3":
        scaling.update(factor=rng.choice([8.0, 32.0]), low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=rng.choice([32, 64]))
    elif kind == "yarn":
        scaling.update(factor=4.0)
        if rng.random() < 0.7:
            scaling["original_max_position_embeddings"] = longest // 4
        if rng.random() < 0.3:
            scaling.update(beta_fast=16.0, beta_slow=2.0)
        if rng.random() < 0.3:
            scaling.update(mscale=0.7, mscale_all_dim=0.9)
        elif rng.random() < 0.3:
            scaling["attention_factor"] = 1.3
        if rng.random() < 0.3:
            scaling["truncate"] = False
    elif kind == "longrope":
        n = int(head_dim * share) // 2
        scaling.update(short_factor=[round(1 + 0.1 * rng.random(), 3) for _ in range(n)],
                       long_factor=[round(1 + 4 * rng.random(), 3) for _ in range(n)])
        original = rng.choice([24, 48])
        if family == "phi3" or rng.random() < 0.5:
            config["original_max_position_embeddings"] = original
        else:
            scaling["original_max_position_embeddings"] = original
        if family != "phi3" and rng.random() < 0.3:
            scaling["attention_factor"] = 1.2
    if family == "gemma3_text":
        local = rng.choice([10000.0, 100.0])
        if rng.random() < 0.5:
            config["rope_theta"], config["rope_local_base_freq"] = theta, local
            if kind != "default":
                config["rope_scaling"] = scaling
        else:
            config["rope_parameters"] = {
                "full_attention": {**scaling, "rope_theta": theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": local}
            }
    elif rng.random() < 0.5:
        config["rope_theta"] = theta
        if kind != "default":
            if rng.random() < 0.4:
                scaling["type"] = scaling.pop("rope_type")
                if family == "phi3" and rng.random() < 0.5:
                    scaling["type"] = "su"
            config["rope_scaling"] = scaling
    else:
        config["rope_parameters"] = {**scaling, "rope_theta": theta}
        if share != 1.0 and rng.random() < 0.5:
            config["rope_parameters"]["partial_rotary_factor"] = config.pop("partial_rotary_factor")
    return kind


def model_config(rng, family):
    kv = rng.choice([1, 2, 3])
    heads = kv * rng.choice([1, 2, 3])
    head_dim = rng.choice([8, 16, 24])
    own_head_dim = family not in ("phi3", "qwen2") and rng.random() < 0.6
    width = heads * rng.choice([8, 12, 16]) if own_head_dim or family in (
        "qwen3", "gemma2", "gemma3_text") else heads * head_dim
    config = dict(model_type=family, architectures=[ARCHITECTURES[family]
                                                   ], vocab_size=rng.choice([61, 97, 128, 131]),
                  hidden_size=width, intermediate_size=rng.choice([24, 37, 56]),
                  num_hidden_layers=rng.choice([1, 2, 3]) if family != "gemma3_text" else 4,
                  num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=128,
                  rms_norm_eps=rng.choice([1e-5, 1e-6]), tie_word_embeddings=rng.random() < 0.5,
                  bos_token_id=1, eos_token_id=rng.choice([2, [2, 3]]),
                  pad_token_id=rng.choice([0, 5]), torch_dtype="float32")
    if width != heads * head_dim or family in ("qwen3", "gemma2", "gemma3_text"):
        config["head_dim"] = head_dim
    layers = config["num_hidden_layers"]
    activation = rng.choice(6 * ["silu", "gelu_pytorch_tanh"] + ["gelu_new", "swish", "gelu"])
    config["hidden_activation" if family.startswith("gemma") else "hidden_act"] = activation
    if family in ("llama", "qwen3", "gemma2", "gemma3_text"):
        config["attention_bias"] = rng.random() < 0.4
    if family == "llama":
        config["mlp_bias"] = rng.random() < 0.4
    window = rng.choice([1, 3, 7, 16])
    if family in ("mistral", "phi3"):
        config["sliding_window"] = rng.choice([None, window])
    if family in ("qwen2", "qwen3"):
        config.update(use_sliding_window=rng.random() < 0.6, sliding_window=window,
                      max_window_layers=rng.choice([0, 1, layers]))
        if rng.random() < 0.3 and config["use_sliding_window"]:
            config["layer_types"] = [
                rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers)
            ]
    if family.startswith("gemma"):
        config.update(sliding_window=window, query_pre_attn_scalar=rng.choice([8, 13, 256]))
        if rng.random() < 0.3:
            config["layer_types"] = [
                rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers - 1)
            ]
            config["layer_types"].append("full_attention")
        elif family == "gemma3_text":
            config["sliding_window_pattern"] = rng.choice([2, 3, 6])
        if rng.random() < 0.7:
            config["final_logit_softcapping"] = rng.choice([None, 30.0, 2.0])
        if rng.random() < 0.7 and family == "gemma2":
            config["attn_logit_softcapping"] = rng.choice([None, 50.0, 1.0])
    kind = rope(rng, family, head_dim, config)
    return config, kind


def projections(family):
    """The names of attention's linear layers, and of the MLP's."""
    fused = family == "phi3"
    attention = ["qkv_proj", "o_proj"] if fused else ["q_proj", "k_proj", "v_proj", "o_proj"]
    mlp = ["gate_up_proj", "down_proj"] if fused else ["gate_proj", "up_proj", "down_proj"]
    return attention, mlp


def lora_config(rng, family, config):
    attention, mlp = projections(family)
    target = rng.choice([
        "all-linear", attention + mlp,
        rng.sample(attention + mlp, 2), attention[:1], r".*\.(" + "|".join(mlp) + ")",
        r"model\.layers\.0\..*proj", attention + ["lm_head"], attention + ["embed_tokens"],
        ["embed_tokens", "lm_head"] + mlp
    ])
    options = dict(task_type="CAUSAL_LM", r=rng.choice([1, 2, 5, 8]),
                   lora_alpha=rng.choice([1, 8, 16, 7]), target_modules=target,
                   use_rslora=rng.random() < 0.3, use_dora=rng.random() < 0.3)
    listed = isinstance(target, list)
    layers = config["num_hidden_layers"]
    if listed and layers > 1 and rng.random() < 0.25:
        options["layers_to_transform"] = rng.choice([[0], [layers - 1], 1])
        options["layers_pattern"] = rng.choice([None, "layers", ["layers"]])
    if rng.random() < 0.3:
        options["rank_pattern"] = rng.choice([{mlp[-1]: 3},
                                              {r"layers\.0\.self_attn\.o_proj": 7,
                                               "o_proj": 2}, {"^model.layers.0.mlp.down_proj": 6},
                                              {r"model\.layers\.\d\.mlp\..*": 4}])
    if rng.random() < 0.3:
        options["alpha_pattern"] = rng.choice([{mlp[-1]: 3}, {r"layers\.0\..*": 5},
                                               {attention[0]: 1}])
    if rng.random() < 0.2 and target == "all-linear":
        options["exclude_modules"] = rng.choice([["down_proj"], r".*o_proj", [attention[0]]])
    if rng.random() < 0.25 and not (listed and {"lm_head", "embed_tokens"} & set(target)):
        options["modules_to_save"] = rng.choice([["lm_head"], ["embed_tokens"],
                                                 ["lm_head", "embed_tokens"]])
    if rng.random() < 0.15:
        options["bias"] = rng.choice(["lora_only", "all"])
    return options


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
