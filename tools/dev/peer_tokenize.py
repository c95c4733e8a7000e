#!/usr/bin/env python3
"""Rate of the tokenizers package on one thread, for docs/performance_cpu.md.

usage: RAYON_NUM_THREADS=1 peer_tokenize.py TOKENIZER_FOLDER FILE.jsonl [PASSES]

Texts are all strings of all lines, as in `bench tokenize`. Prints the best pass: MB/s, million tokens/s,
and the number of tokens, to be compared with ours.
"""
import json
import sys
import time

import tokenizers


def main():
    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
    with open(sys.argv[2], encoding="utf-8") as lines:
        texts = [
            text for line in lines for text in json.loads(line).values() if isinstance(text, str)
        ]
    size = sum(len(text.encode()) for text in texts)
    best = float("inf")
    for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 5):
        start = time.perf_counter()
        tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
        best = min(best, time.perf_counter() - start)
    print(f"{len(texts)} texts, {size / 1e6:.1f} MB: {size / 1e6 / best:.2f} MB/s, "
          f"{tokens / 1e6 / best:.2f} million tokens/s, {tokens} tokens")


main()
