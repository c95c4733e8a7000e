"""The step of `//tools:bench --shape=135m --tokens=1024` with transformers and PEFT, to compare
speed.

  pip install torch transformers peft
  taskset -c 0,1 python3 tools/dev/peer_lora_step.py THREADS STEPS
"""

import os
import resource
import sys
import time

threads, steps = int(sys.argv[1]), int(sys.argv[2])
os.environ["OMP_NUM_THREADS"] = str(threads)

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

TOKENS = 1024


def make_model():
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, head_dim=64, rms_norm_eps=1e-5,
        max_position_embeddings=131072, tie_word_embeddings=True)
    lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return peft.get_peft_model(transformers.LlamaForCausalLM(config).float(), lora)


def main():
    torch.set_num_threads(threads)
    model = make_model()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (1, TOKENS))
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(1e3 * (time.perf_counter() - start))
    times = sorted(times[1:])  # the first one warms up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"ms per step            {times[len(times) // 2]:.1f} (fastest {times[0]:.1f}, "
          f"slowest {times[-1]:.1f} of {len(times)})")
    print(f"peak memory            {peak:.2f} GiB")


main()
