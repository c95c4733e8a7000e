"""Unsloth on the packs that `//tools:bench --packs=…` measures: LoRA r=16 on all seven linear layers, bf16, random tokens, one
document a row, clipping and AdamW included (needs a GPU and Unsloth with its dependencies).

  peer_unsloth.py MODEL --packs=2x4096,1x4096 [--checkpointing=none|unsloth] [--steps=8] [--warmup=3]

MODEL: a folder, for example of random_llama.py. One process measures all packs in turn, so that it loads and compiles once; peaks are
those of each pack. What is printed is a line each: tokens/s, ms a step, the most that torch had allocated, the loss.
"""
import argparse
import time

START = time.time()
from unsloth import FastLanguageModel  # noqa: E402  (before torch: it patches)

import torch  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--packs", default="2x4096")
    parser.add_argument("--checkpointing", default="none", choices=["none", "unsloth"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=3)
    args = parser.parse_args()
    packs = [tuple(map(int, pack.split("x"))) for pack in args.packs.split(",")]
    checkpointing = "unsloth" if args.checkpointing == "unsloth" else False
    model, _ = FastLanguageModel.from_pretrained(
        args.model, max_seq_length=max(length for _, length in packs), dtype=torch.bfloat16, load_in_4bit=False)
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, lora_dropout=0, bias="none", use_gradient_checkpointing=checkpointing, random_state=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    FastLanguageModel.for_training(model, use_gradient_checkpointing=checkpointing)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    vocabulary = min(128000, model.config.vocab_size)
    for rows, length in packs:
        ids = torch.randint(0, vocabulary, (16, rows, length), device="cuda")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ends = []
        try:
            for step in range(args.warmup + args.steps):
                x = ids[step % len(ids)]
                loss = model(input_ids=x, labels=x).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if step in (0, args.warmup - 1, args.warmup + args.steps - 1):
                    torch.cuda.synchronize()
                    ends.append(time.time())
        except torch.OutOfMemoryError:
            print(f"unsloth {rows}x{length} checkpointing={args.checkpointing}: out of memory", flush=True)
            continue
        seconds = (ends[-1] - ends[-2]) / args.steps
        print(f"unsloth {rows}x{length} checkpointing={args.checkpointing}: {rows * length / seconds:.0f} tokens/s, "
              f"{1e3 * seconds:.1f} ms a step, peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB, loss {loss.item():.3f}, "
              f"first step {ends[0] - START:.1f} s from the start", flush=True)


main()
