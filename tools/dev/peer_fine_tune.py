"""One epoch of LoRA on a chat model with transformers and PEFT, with the options that //trainer:train has by default, to compare
where both end.

  peer_fine_tune.py MODEL TRAIN.jsonl VALIDATION.jsonl --dtype=bf16 --seed=1      (question/answer lines)
  bazel run //trainer:train -- --model=MODEL --train_file=TRAIN.jsonl --validation_file=VALIDATION.jsonl --eval_steps=0

Both train on the same documents: the model's chat template, the answer and its end-of-turn token supervised, 16 documents a step, the
mean over a step's supervised tokens, AdamW at 2e-4 with cosine decay and 3 % warm-up, clipping at 1. Seeds decide first values of the
adapter and the order of documents. The figure is the mean loss over all supervised tokens of the validation file.
"""
import argparse
import json
import math
import random
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

BATCH, PEAK, WARMUP_RATIO, MAX_LENGTH = 16, 2e-4, 0.03, 2048
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def encode(path, tokenizer):
    """(ids, number of tokens that are not supervised, number of tokens up to the end of the turn) of each line."""
    end = tokenizer.convert_tokens_to_ids(tokenizer.eos_token)
    documents = []
    for line in open(path):
        pair = json.loads(line)
        turns = [{"role": "user", "content": pair["question"]}, {"role": "assistant", "content": pair["answer"]}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        assert whole.startswith(prompt)
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"][:MAX_LENGTH]
        first = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        last = len(ids) - ids[::-1].index(end) if end in ids[first:] else len(ids)
        documents.append((ids, first, last))
    return documents


def nll_sum(model, documents, dtype=torch.float32):
    """The sum of -log p over the supervised tokens, and their number; log p is computed in dtype."""
    longest = max(len(ids) for ids, _, _ in documents)
    ids = torch.zeros(len(documents), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (tokens, first, last) in enumerate(documents):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        labels[row, first:last] = torch.tensor(tokens[first:last])
    ids, mask, labels = ids.to(DEVICE), mask.to(DEVICE), labels.to(DEVICE)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    targets = labels[:, 1:].reshape(-1)
    rows = logits[:, :-1].reshape(-1, logits.shape[-1])[targets != -100]
    targets = targets[targets != -100]
    return torch.nn.functional.cross_entropy(rows.to(dtype), targets, reduction="sum"), targets.numel()


@torch.no_grad()
def evaluate(model, documents):
    total, count = 0.0, 0
    for i in range(0, len(documents), BATCH):
        loss, supervised = nll_sum(model, documents[i : i + BATCH], torch.float64)
        total, count = total + loss.item(), count + supervised
    return total / count


def learning_rate(step, steps):
    warmup = math.ceil(WARMUP_RATIO * steps)
    if step <= warmup:  # steps count from 1
        return PEAK * step / warmup
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / (steps - warmup)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("validation")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    # As tokenizer.json has it: the class that AutoTokenizer takes may put another pre-tokenizer in its place.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.dtype]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).to(DEVICE)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear",
                                             task_type="CAUSAL_LM"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=PEAK, weight_decay=0.0)
    train, validation = encode(args.train, tokenizer), encode(args.validation, tokenizer)
    before = evaluate(model, validation)
    random.Random(args.seed).shuffle(train)
    steps = math.ceil(len(train) / BATCH)
    start = time.time()
    for step in range(1, steps + 1):
        loss, count = nll_sum(model, train[BATCH * (step - 1) : BATCH * step])
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    after = evaluate(model, validation)
    print(json.dumps({"dtype": args.dtype, "seed": args.seed, "steps": steps, "before": before, "after": after,
                      "seconds": round(time.time() - start, 1),
                      "supervised_tokens": sum(last - first for _, first, last in validation)}), flush=True)


main()
