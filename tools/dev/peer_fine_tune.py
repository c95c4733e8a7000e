"""One epoch of LoRA on a chat model with transformers and PEFT, with the options that
//trainer:train has by default, to compare where both end.

  peer_fine_tune.py MODEL TRAIN.jsonl VALIDATION.jsonl --dtype=bf16 --seed=1
  bazel run //trainer:train -- --model=MODEL --train_file=TRAIN.jsonl \\
      --validation_file=VALIDATION.jsonl --eval_steps=0              (question/answer lines)

Both train on the same documents: the model's chat template, the answer and its end-of-turn token
supervised, 16 documents a step, the mean over a step's supervised tokens, AdamW at 2e-4 with cosine
decay and 3 % warm-up, clipping at 1. Seeds decide first values of the adapter and the order of
documents; with --start=FOLDER both are the trainer's of that seed: FOLDER is what it writes with
--seed=SEED --learning_rate=0 --max_steps=1. The figure is the mean loss over all supervised tokens
of the validation file.

On a GPU a step's forward and backward are recorded once for each length of batch, to the next
multiple of 64, and replayed as CUDA graphs: the host would need a quarter of a second to call them.
Documents are padded on the right, where causal attention needs no mask."""
import argparse
import json
import math
import random
import sys
import time

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama import modeling_llama as llama

BATCH, PEAK, WARMUP_RATIO, MAX_LENGTH = 16, 2e-4, 0.03, 2048
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def encode(path, tokenizer):
    """Of each line: ids, number of tokens not supervised, number up to the end of the turn."""
    end = tokenizer.convert_tokens_to_ids(tokenizer.eos_token)
    documents = []
    for line in open(path):
        pair = json.loads(line)
        turns = [{"role": "user", "content": pair["question"]},
                 {"role": "assistant", "content": pair["answer"]}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False,
                                               add_generation_prompt=True)
        assert whole.startswith(prompt)
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"][:MAX_LENGTH]
        first = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        last = len(ids) - ids[::-1].index(end) if end in ids[first:] else len(ids)
        documents.append((ids, first, last))
    return documents


def batch(documents, rows, length):
    """ids and labels [rows, length] (-100: not supervised), and the number of supervised tokens."""
    ids = torch.zeros(rows, length, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (tokens, first, last) in enumerate(documents):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, first:last] = torch.tensor(tokens[first:last])
    return ids, labels, sum(last - first for _, first, last in documents)


def nll_sum(model, ids, labels, dtype=torch.float32):
    """The sum of -log p over the supervised tokens; log p is computed in dtype."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits.to(dtype), labels[:, 1:].flatten(),
                                             ignore_index=-100, reduction="sum")


class Gradients:
    """Gradients of a batch's mean loss, into p.grad of the trained parameters."""

    def __init__(self, model, trained):
        self.model, self.trained, self.recorded, self.pool = model, trained, {}, None
        for p in trained:
            p.grad = torch.zeros_like(p)

    def compute(self, ids, labels, count):
        torch._foreach_zero_([p.grad for p in self.trained])
        nll = nll_sum(self.model, ids, labels)
        (nll / count).backward()
        return nll.detach()

    def record(self, length):
        ids, labels, _ = batch([], BATCH, length)
        held = [ids.to(DEVICE), labels.to(DEVICE), torch.ones((), device=DEVICE)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is made at first use is not part of a graph
            self.compute(*held)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            held.append(self.compute(*held))
        self.pool = graph.pool()
        self.recorded[length] = graph, held

    def __call__(self, documents):
        """The sum of -log p, on the device; it lasts until the next call."""
        longest = max(len(ids) for ids, _, _ in documents)
        if DEVICE == "cpu":
            return self.compute(*batch(documents, BATCH, longest))
        length = 64 * math.ceil(longest / 64)
        if length not in self.recorded:
            self.record(length)
        graph, (ids, labels, count, nll) = self.recorded[length]
        for held, value in zip((ids, labels, count), batch(documents, BATCH, length)):
            held.copy_(value) if torch.is_tensor(value) else held.fill_(value)
        graph.replay()
        return nll


@torch.no_grad()
def evaluate(model, documents):
    total, count = 0.0, 0
    for i in range(0, len(documents), BATCH):
        some = documents[i : i + BATCH]
        ids, labels, supervised = batch(some, len(some), max(len(ids) for ids, _, _ in some))
        total += nll_sum(model, ids.to(DEVICE), labels.to(DEVICE), torch.float64).item()
        count += supervised
    return total / count


def learning_rate(step, steps):
    warmup = math.ceil(WARMUP_RATIO * steps)
    if step <= warmup:  # steps count from 1
        return PEAK * step / warmup
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / (steps - warmup)))


def mix_keys(a, b):
    x = (a + 0x9E3779B97F4A7C15 * (b + 1)) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def trainers_order(size, seed):
    """Which document //trainer:train takes where in its first epoch (data/step_plan.cc)."""
    key, columns = mix_keys(seed, 0), math.ceil(math.sqrt(size))
    rows = -(-size // columns)

    def permute(index):
        while True:
            left, right = divmod(index, columns)
            for r in range(0, 8, 2):
                left = (left + mix_keys(key + r, right) % rows) % rows
                right = (right + mix_keys(key + r + 1, left) % columns) % columns
            index = left * columns + right
            if index < size:
                return index

    return [permute(i) for i in range(size)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("validation")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start",
                        help="a folder of //trainer:train with the adapter that it begins with")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    # As tokenizer.json has it: the class that AutoTokenizer takes may put another pre-tokenizer in
    # its place.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.dtype]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).to(DEVICE)
    # is_causal will do: nothing but the end is padded
    llama.create_causal_mask = lambda *args, **kwargs: None
    model = get_peft_model(
        model,
        LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear",
                   task_type="CAUSAL_LM"))
    if args.start:
        unknown = set_peft_model_state_dict(
            model, load_file(f"{args.start}/adapter_model.safetensors")).unexpected_keys
        assert not unknown, unknown
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=PEAK, weight_decay=0.0)
    train, validation = encode(args.train, tokenizer), encode(args.validation, tokenizer)
    before = evaluate(model, validation)
    if args.start:
        train = [train[i] for i in trainers_order(len(train), args.seed)]
    else:
        random.Random(args.seed).shuffle(train)
    steps = math.ceil(len(train) / BATCH)
    gradients = Gradients(model, trained)
    start = time.time()
    for step in range(1, steps + 1):
        documents = train[BATCH * (step - 1) : BATCH * step]
        nll = gradients(documents)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.step()
        if step <= 3 or step % 50 == 0:
            loss = nll.item() / sum(last - first for _, first, last in documents)
            print(f"step {step} after {time.time() - start:.1f} s, loss {loss:.5f}",
                  file=sys.stderr, flush=True)
    after = evaluate(model, validation)
    print(
        json.dumps({
            "dtype": args.dtype, "seed": args.seed, "steps": steps, "before": before,
            "after": after, "seconds": round(time.time() - start, 1),
            "supervised_tokens": sum(last - first for _, first, last in validation)
        }), flush=True)


main()
