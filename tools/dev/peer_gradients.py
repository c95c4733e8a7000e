"""Loss and LoRA gradients of one step on a random model: ours in bf16 and those of transformers and
PEFT in bf16, each against transformers in fp32 on the same machine.

  peer_gradients.py WORK TRAIN [--shape=1b]
                      WORK: a folder for the model; TRAIN: the command of //trainer:train

The trainer is not asked for gradients: after one step without clipping AdamW's first moment in the
checkpoint is (1 - beta1) times them. Errors are |g - g32| / |g32| in the Euclidean norm, over all
matrices together and for the worst one."""
import argparse
import glob
import json
import shlex
import subprocess

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

SHAPES = {
    "1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
               num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=128256),
    "tiny": dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=16, vocab_size=320),
}
DOCUMENTS, LENGTH, BETA1 = 4, 1024, 0.9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make(work, shape):
    """A model folder, an adapter whose B is not zero, and documents of random tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=True, max_position_embeddings=131072,
                         rope_theta=500000.0, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(f"{work}/model")
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM",
                      init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(f"{work}/adapter")
    ids = torch.randint(3, config.vocab_size, (DOCUMENTS, LENGTH))
    with open(f"{work}/documents.jsonl", "w") as file:
        for row in ids.tolist():
            file.write(json.dumps({"input_ids": row, "labels": row}) + "\n")
    return ids


def peer(work, ids, dtype):
    model = AutoModelForCausalLM.from_pretrained(f"{work}/model", dtype=dtype).to(DEVICE)
    model = PeftModel.from_pretrained(model, f"{work}/adapter", is_trainable=True)
    loss = 0.0
    for row in ids.to(DEVICE):  # one at a time: fp32 logits are large
        logits = model(input_ids=row[None], use_cache=False).logits[0, :-1].float()
        nll = torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum") / (DOCUMENTS *
                                                                                     (LENGTH - 1))
        nll.backward()
        loss += nll.item()
    gradients = {
        name.removeprefix("base_model.model.").replace(".default", ""): p.grad.double().cpu()
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    return loss, gradients


def ours(work, train, dtype):
    output = f"{work}/run-{dtype}"
    device = "--device=cuda" if DEVICE == "cuda" else "--device=cpu"
    subprocess.run(
        shlex.split(train) + [
            f"--model={work}/model", f"--init_adapter={work}/adapter",
            f"--train_file={work}/documents.jsonl", "--max_steps=1",
            f"--global_batch_size={DOCUMENTS}", "--max_grad_norm=0", "--nproc_per_node=1",
            f"--dtype={dtype}", device, f"--output_dir={output}"
        ], check=True, stdout=subprocess.DEVNULL)
    moments = load_file(glob.glob(f"{output}/checkpoints/step-*1/state.safetensors")[0])
    gradients = {
        name.removeprefix("exp_avg."): value.double() / (1 - BETA1)
        for name, value in moments.items()
        if name.startswith("exp_avg.")
    }
    return json.loads(open(f"{output}/metrics.jsonl").readline())["loss"], gradients


def report(name, result, reference):
    (loss, gradients), (true_loss, truth) = result, reference
    assert gradients.keys() == truth.keys(), sorted(gradients.keys() ^ truth.keys())[:4]
    errors = {
        key: ((gradients[key] - truth[key]).norm() / truth[key].norm()).item() for key in truth
    }
    squares = sum(float((gradients[key] - truth[key]).norm() ** 2) for key in truth)
    whole = sum(float(truth[key].norm() ** 2) for key in truth)
    worst = max(errors, key=errors.get)
    print(
        f"{name:24} loss {loss:.6f} ({loss - true_loss:+.2e})  gradients off by {(squares / whole) ** 0.5:.3e}, "
        f"median {sorted(errors.values())[len(errors) // 2]:.3e}, worst {errors[worst]:.3e} ({worst})",
        flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("train")
    parser.add_argument("--shape", default="1b")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    ids = make(args.work, args.shape)
    reference = peer(args.work, ids, torch.float32)
    print(f"reference: fp32, loss {reference[0]:.6f}, {len(reference[1])} matrices")
    report("transformers, bf16", peer(args.work, ids, torch.bfloat16), reference)
    for dtype in ("bf16", "fp32") if DEVICE == "cuda" else ("fp32",):
        report(f"ours, {dtype}", ours(args.work, args.train, dtype), reference)


main()
