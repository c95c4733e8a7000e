"""Unsloth or transformers + PEFT on the packs that `//tools:bench --packs=…` measures: LoRA r=16 on
all seven linear layers, bf16, random tokens, one document a row, clipping and AdamW included (needs
a GPU and the packages).

  echo "2x4096 6 3" |
    peer_steps.py (unsloth|transformers) MODEL [--checkpointing] [--fp8] [--max_seq_length=32768]

MODEL: a folder, for example of random_llama.py. Each line of the input is a pack, its measured
steps and the steps before them, and is answered by a line: so one process measures many packs, and
takes turns with another program on the same GPU; what the packages print goes to stderr, so that
an answer is the next line. The first line also loads the model; with 0 measured steps it only
compiles. --checkpointing: Unsloth's own, or transformers' of every layer. The peak is
the most that torch had allocated while it ran this pack."""
import argparse
import sys
import time

START = time.time()
parser = argparse.ArgumentParser()
parser.add_argument("peer", choices=["unsloth", "transformers"])
parser.add_argument("model")
parser.add_argument("--checkpointing", action="store_true")
parser.add_argument("--fp8", action="store_true", help="Unsloth: weights in FP8")
parser.add_argument("--max_seq_length", type=int, default=4096,
                    help="Unsloth's, at least the longest document")
args = parser.parse_args()
answers, sys.stdout = sys.stdout, sys.stderr
if args.peer == "unsloth":
    from unsloth import FastLanguageModel  # before torch: it patches
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

IMPORTED = time.time()
LORA = dict(
    r=16, lora_alpha=32, lora_dropout=0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])


def load_unsloth():
    model, _ = FastLanguageModel.from_pretrained(
        args.model, max_seq_length=args.max_seq_length, dtype=torch.bfloat16,
        load_in_4bit=False, load_in_fp8=args.fp8)
    mode = "unsloth" if args.checkpointing else False
    model = FastLanguageModel.get_peft_model(model, **LORA, bias="none",
                                             use_gradient_checkpointing=mode, random_state=0)
    FastLanguageModel.for_training(model, use_gradient_checkpointing=mode)
    return model


def load_transformers():
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16,
                                                 device_map={"": 0}, use_cache=False)
    model = get_peft_model(model, LoraConfig(**LORA, task_type="CAUSAL_LM"))
    if args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
        model.enable_input_require_grads()
    return model


class Peer:
    def __init__(self):
        self.model = load_unsloth() if args.peer == "unsloth" else load_transformers()
        self.model.train()
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4, fused=True)

    def run(self, steps, ids):
        """The time of so many steps, in seconds."""
        torch.cuda.synchronize()
        start = time.time()
        for i in range(steps):
            x = ids[i % len(ids)]
            self.model(input_ids=x, labels=x).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        return time.time() - start


def measure(peer, pack, steps, warmup):
    rows, length = map(int, pack.split("x"))
    ids = torch.randint(0, 128000, (8, rows, length), device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = peer.run(warmup, ids)
    result = f"{warmup} steps before took {before:.1f} s"
    if steps > 0:
        seconds = peer.run(steps, ids) / steps
        peak = torch.cuda.max_memory_allocated() / 2**30
        result = f"{rows * length / seconds:.0f} tokens/s, {1e3 * seconds:.1f} ms a step, peak {peak:.2f} GiB; {result}"
    torch.cuda.empty_cache()
    return result


peer = None
for line in sys.stdin:
    pack, steps, warmup = line.split()
    begin = time.time()
    peer = peer or Peer()
    loading = time.time() - begin
    try:
        result = measure(peer, pack, int(steps), int(warmup))
    except torch.OutOfMemoryError:
        result = "out of memory"
    what = args.peer + (", fp8" if args.fp8 else "")
    what += ", checkpointing" if args.checkpointing else ""
    print(f"{what}, {pack}: {result}; imports {IMPORTED - START:.1f} s, loading {loading:.1f} s",
          file=answers, flush=True)
