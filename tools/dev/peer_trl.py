"""TRL's SFTTrainer on question/answer lines, with Unsloth or with transformers + PEFT alone: LoRA
r=16 on all seven linear layers, bf16, from the command to the adapter (needs a GPU and the
packages).

  peer_trl.py (unsloth|transformers) MODEL TRAIN.jsonl OUT --batch=2 --packing [--seconds=120]

The texts are "Question: …\\nAnswer: …", all tokens supervised, one epoch. --packing: documents are
packed to 4096 tokens; without it --batch documents are padded to the longest of them. After
--seconds since the start it stops early, and says what share of the epoch it did. Tokens/s count no
padding."""
import argparse
import json
import time

START = time.time()
parser = argparse.ArgumentParser()
parser.add_argument("peer", choices=["unsloth", "transformers"])
parser.add_argument("model")
parser.add_argument("train")
parser.add_argument("out")
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--packing", action="store_true")
parser.add_argument("--warmup", type=int, default=3, help="steps before those that tokens/s are of")
parser.add_argument("--seconds", type=float, default=1e9)
args = parser.parse_args()
if args.peer == "unsloth":
    from unsloth import FastLanguageModel  # before torch: it patches
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

LENGTH = 4096
LORA = dict(
    r=16, lora_alpha=32, lora_dropout=0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])


def load():
    if args.peer == "unsloth":
        model, tokenizer = FastLanguageModel.from_pretrained(
            args.model, max_seq_length=LENGTH, dtype=torch.bfloat16, load_in_4bit=False)
        return FastLanguageModel.get_peft_model(
            model, **LORA, bias="none", use_gradient_checkpointing=False, random_state=0), tokenizer
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16,
                                                 device_map={"": 0})
    return get_peft_model(
        model, LoraConfig(**LORA, task_type="CAUSAL_LM")), AutoTokenizer.from_pretrained(args.model)


class Clock(TrainerCallback):
    ends = []  # seconds since the start, of each step

    def on_step_end(self, options, state, control, **_):
        torch.cuda.synchronize()
        self.ends.append(time.time() - START)
        if len(self.ends) in (1, args.warmup) or len(self.ends) % 20 == 0:
            print(f"step {len(self.ends)} of {state.max_steps} ended after {self.ends[-1]:.1f} s",
                  flush=True)
        if len(self.ends) > args.warmup and self.ends[-1] > args.seconds:
            control.should_training_stop = True


model, tokenizer = load()
print(f"loaded after {time.time() - START:.1f} s", flush=True)
with open(args.train) as file:
    pairs = [json.loads(line) for line in file]
texts = [
    f"Question: {pair['question']}\nAnswer: {pair['answer']}{tokenizer.eos_token}" for pair in pairs
]
clock = Clock()
trainer = SFTTrainer(
    model=model, processing_class=tokenizer, train_dataset=Dataset.from_dict({"text": texts}),
    callbacks=[clock],
    args=SFTConfig(output_dir=args.out, per_device_train_batch_size=args.batch,
                   gradient_accumulation_steps=1, num_train_epochs=1, learning_rate=1e-4, bf16=True,
                   logging_steps=10, save_strategy="no", report_to="none", max_length=LENGTH,
                   dataset_text_field="text", packing=args.packing, optim="adamw_torch_fused",
                   seed=0, gradient_checkpointing=False, disable_tqdm=True))
tokens = sum(map(len, trainer.train_dataset["input_ids"]))
print(
    f"data ready after {time.time() - START:.1f} s, {len(trainer.train_dataset)} rows of {tokens} tokens",
    flush=True)
trainer.train()
model.save_pretrained(args.out)
done, steps = len(clock.ends), trainer.state.max_steps
seconds = (clock.ends[-1] - clock.ends[args.warmup - 1]) / max(1, done - args.warmup)
print(
    f"{args.peer} + TRL, {'packed' if args.packing else 'padded'}, batch {args.batch}: {tokens / steps / seconds:.0f} tokens/s, "
    f"{1e3 * seconds:.1f} ms a step, {done} of {steps} steps; first step ended after {clock.ends[0]:.1f} s, adapter after "
    f"{time.time() - START:.1f} s; the whole epoch would end after {clock.ends[-1] + (steps - done) * seconds:.1f} s; "
    f"peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB", flush=True)
