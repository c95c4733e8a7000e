"""What the trainer and merge write, read by transformers and PEFT: every family as transformers
itself saves it, trained whole and with LoRA for some steps, merged, and the NLL of documents
compared on both sides (needs torch, transformers and peft).

  bazel build //trainer:train //tools:evaluate //tools:merge
  check_with_transformers.py bazel-bin OUT
"""
import json
import os
import shutil
import subprocess
import sys

import torch
import transformers
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
STEPS, RATE, EPSILON = 4, 0.003, 1e-4  # a large epsilon: AdamW makes steps of noise otherwise
SIZES = dict(vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             pad_token_id=0, bos_token_id=1, eos_token_id=2)
VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
              image_size=28, patch_size=14)
GEMMA = dict(SIZES, head_dim=16, sliding_window=8, query_pre_attn_scalar=16)
MODELS = {
    "llama": dict(SIZES, model_type="llama"),
    "llama_bias_tied": dict(SIZES, model_type="llama", attention_bias=True, mlp_bias=True,
                            tie_word_embeddings=True, dtype="bfloat16"),
    "mistral": dict(SIZES, model_type="mistral", sliding_window=8, head_dim=16),
    "qwen2": dict(SIZES, model_type="qwen2", use_sliding_window=True, sliding_window=8,
                  max_window_layers=1),
    "qwen3_tied": dict(SIZES, model_type="qwen3", head_dim=16, tie_word_embeddings=True),
    "phi3": dict(
        SIZES, model_type="phi3", partial_rotary_factor=0.5, original_max_position_embeddings=16,
        rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.5,
                             short_factor=[1.0, 1.1], long_factor=[1.5, 3.0],
                             original_max_position_embeddings=16)),
    "gemma2": dict(GEMMA, model_type="gemma2"),
    "gemma3_text": dict(GEMMA, model_type="gemma3_text"),
    "gemma3": dict(model_type="gemma3", text_config=dict(GEMMA, model_type="gemma3_text"),
                   vision_config=VISION, mm_tokens_per_image=4, image_token_index=90,
                   boi_token_index=91, eoi_token_index=92),
}
ADAPTERS = {
    "plain": [],
    "dora": ["--use_dora=true", "--lora_target_modules=q_proj,qkv_proj,down_proj,lm_head"],
    "embed": ["--lora_target_modules=q_proj,qkv_proj,embed_tokens,lm_head"],
    "saved": ["--modules_to_save=lm_head,embed_tokens"],
    "pissa": ["--init_lora_weights=pissa", "--lora_r=4"],
}


def run(binary, *flags):
    done = subprocess.run(
        [binary, *flags, "--num_threads=1"] if "merge" not in binary else [binary, *flags],
        capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(binary)} {' '.join(flags)}\n{done.stderr[-1500:]}")
    return done.stdout


def ours(bin, data, model, adapter=""):
    lines = run(f"{bin}/tools/evaluate", f"--model={model}", f"--adapter={adapter}",
                f"--validation_file={data}", "--per_document").splitlines()
    return [record["nll"] for record in map(json.loads, lines) if "nll" in record]


def theirs(data, model, adapter=""):
    net, info = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32,
                                                     attn_implementation="eager",
                                                     output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info[
        "mismatched_keys"], info
    if adapter:
        net = PeftModel.from_pretrained(net, adapter)
    out = []
    for line in open(data):
        ids = torch.tensor([json.loads(line)["input_ids"]])
        with torch.no_grad():
            logits = net(input_ids=ids).logits[0].double()
        out.append(float(-torch.log_softmax(logits, -1)[:-1].gather(1, ids[0, 1:, None]).sum()))
    return out


def trained(data, model):
    """NLL of the documents after the same steps of torch's AdamW on all the text model's weights."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32,
                                               attn_implementation="eager")
    documents = [torch.tensor([json.loads(line)["input_ids"]]) for line in open(data)]
    count = sum(ids.shape[1] - 1 for ids in documents)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.999), eps=EPSILON,
                                  weight_decay=0)

    def nll(ids):
        logits = net(input_ids=ids).logits[0].double()
        return -torch.log_softmax(logits, -1)[:-1].gather(1, ids[0, 1:, None]).sum()

    for _ in range(STEPS):
        optimizer.zero_grad()
        for ids in documents:
            (nll(ids) / count).backward()
        optimizer.step()
    with torch.no_grad():
        return [float(nll(ids)) for ids in documents]


def difference(a, b):
    assert len(a) == len(b) and len(a) > 0
    return max(abs(x - y) / abs(y) for x, y in zip(a, b))


def main(bin, out):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    torch.manual_seed(0)
    data = f"{out}/data.jsonl"
    with open(data, "w") as file:
        for length in (30, 12, 25, 7, 18, 40):
            file.write(json.dumps({"input_ids": torch.randint(3, 90, (length,)).tolist()}) + "\n")
    worst = 0
    for name, options in MODELS.items():
        base = f"{out}/{name}"
        config = AutoConfig.for_model(**options)
        config.architectures = None
        net = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        net.save_pretrained(base)
        want = theirs(data, base)
        figures = {"base": difference(ours(bin, data, base), want)}
        train = [
            f"{bin}/trainer/train", f"--model={base}", f"--train_file={data}",
            f"--max_steps={STEPS}", "--global_batch_size=6", f"--learning_rate={RATE}",
            f"--adam_epsilon={EPSILON}", "--max_grad_norm=0", "--lr_scheduler_type=constant",
            "--warmup_ratio=0", "--device=cpu", f"--cache_dir={out}/cache"
        ]
        whole = f"{out}/{name}-full"
        run(*train, "--train=full", f"--output_dir={whole}")
        got = theirs(data, whole)
        figures["full"] = difference(ours(bin, data, whole), got)
        assert difference(got, want) > 1e-2, "training changed nothing"
        if "dtype" not in options:
            figures["full as torch"] = difference(got, trained(data, base))
        for kind, flags in ADAPTERS.items():
            if kind == "pissa" and name == "llama_bias_tied":
                continue  # PEFT has no PiSSA of bf16 weights
            adapter, merged = f"{out}/{name}-{kind}", f"{out}/{name}-{kind}-merged"
            run(*train, *flags, f"--output_dir={adapter}")
            run(f"{bin}/tools/merge", f"--model={base}", f"--adapter={adapter}",
                f"--output_dir={merged}", "--noprobe", "--dtype=fp32")
            with_adapter = ours(bin, data, base, adapter)
            figures[kind] = difference(with_adapter, theirs(data, base, adapter))
            figures[kind + " merged"] = difference(theirs(data, merged), with_adapter)
        print(f"{name:16}", "  ".join(f"{key} {value:.0e}" for key, value in figures.items()),
              flush=True)
        worst = max(worst, *figures.values())
    print(f"largest relative difference of a document's NLL: {worst:.1e}")
    return worst > 1e-4


sys.exit(main(*sys.argv[1:3]))
