"""Makes cases.json: small tokenizers that combine all components, with what the `tokenizers` package
makes of random texts and ids. Run by hand when a component is added:

    pip install tokenizers==0.23.3
    python3 data/tokenizer/testdata/generate_cases.py > data/tokenizer/testdata/cases.json

With --compare BINARY N it writes nothing, but makes N cases with more texts, runs
`BINARY --model=… [--special|--decode]` (//tools:tokenize) on them and prints every difference; with
--archives FOLDER behind that, also for the tokenizers of the folder's *.tar.xz.
"""
import json
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

WORDS = ("the of and to in is that it was for on are as with his they at be this from I'll don't we've "
         "it's HE'S THEY'RE dollars each 12 345 6789 $4.50 (a+b) x=y/2 https://a.b/c?d=e Hello World "
         "naïve café ÉCOLE straße İstanbul ὈΔΥΣΣΕΎΣ привет мир שלום مرحبا नमस्ते สวัสดี 你好 世界 こんにちは カタカナ "
         "한국어 😀 👨‍👩‍👧 🇩🇪 ½ ² Ⅷ ﬁne e\u0301 \u212b \u0344").split(" ")
PIECES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e",
          "\u200b", "\u200d", "\ufeff", "\U00011f04\U00011f00\U0001e4d0\U0001171e", "▁", "_", "'s", "'S", "'ſ", "\x00", "\x7f", "\ufffd", "<0x41>", "##"]
RANGES = ([(0x20, 0x7F)] * 6 + [(0, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
          (0x900, 0xE00), (0x1E00, 0x2100), (0x2100, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A4), (0xF900, 0xFFFF), (0x1F300, 0x1FB00), (0x10000, 0x12000), (0x20000, 0x32000)])
EXPRESSIONS = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s+",
    r"[一-龥぀-ゟ゠-ヿ]+", r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\w+|[^\w\s]+", r"\b", r"x*", r"\S+\s?",
    r"[[:alpha:]]+|[[:punct:]]|[[:^space:]&&[^a-z]]", r"(?m).+?\n|^.", r"(?<=[a-z])(?=[A-Z])", r"[^\S\r\n]+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}|\s+(?!\S)|\s+",
    r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s+",
    r"(?=(\d{3})+(?!\d))", r"(?<=\d)(?=(?:\d{3})+\b)|\s+|\S+?(?=\s|$)", r"<\|[a-z]+\|>|[0-9][0-9][0-9]",
    r"\p{Han}+|\p{Hiragana}+|\p{^L}", r"(?i)THE|and", r"a{,2}b|\u00e9", r"\p{Letter}+|\p{Nd}", r"\d{2}+|\h+",
    r"\p{Kawi}+|\p{Nagm}|[\p{^Mn}a]+"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def random_text(r, added=()):
    out = []
    for _ in range(r.choice([1, 2, 3, 5, 8, 13])):
        kind = r.random()
        if kind < 0.35:
            out.append(r.choice(WORDS) + (" " if r.random() < 0.7 else ""))
        elif kind < 0.55:
            out.append(r.choice(PIECES))
        elif kind < 0.65 and added:
            out.append(r.choice(added))
        elif kind < 0.9:
            for _ in range(r.choice([1, 1, 2, 3])):
                c = 0xD800
                while 0xD800 <= c < 0xE000:
                    c = r.randrange(*r.choice(RANGES))
                out.append(chr(c))
        else:
            out.append(str(r.randrange(10 ** r.randrange(1, 7))))
    return "".join(out)


def train(pre_tokenizer, special, alphabet=(), **options):
    r = random.Random(3)
    corpus = [" ".join(r.choices(WORDS, k=30)) for _ in range(60)]
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False,
                                  initial_alphabet=list(alphabet), limit_alphabet=300, **options)
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())


def bases():
    p = pre_tokenizers
    alphabet = p.ByteLevel.alphabet()
    yield train(p.ByteLevel(add_prefix_space=False), ["<unk>", "<s>", "</s>"], alphabet)
    yield train(p.Metaspace(), ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)])
    yield train(p.ByteLevel(add_prefix_space=False), ["<unk>", "<s>", "</s>"], alphabet,
                end_of_word_suffix="</w>")
    yield train(p.BertPreTokenizer(), ["<unk>", "<s>", "</s>"], continuing_subword_prefix="##")


def sequence(r, make, key, most):
    count = r.randrange(most + 1)
    if count == 0:
        return None
    return make(r) if count == 1 else {"type": "Sequence", key: [make(r) for _ in range(count)]}


def normalizer(r):
    return r.choice([{"type": t} for t in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]] + [
        {"type": "Strip", "strip_left": r.random() < 0.6, "strip_right": r.random() < 0.6},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": r.choice([r"\s+", r" {2,}", r"[\p{P}]", "[aeiou]"])},
         "content": r.choice(["▁", " ", "", "xx"])},
        {"type": "Prepend", "prepend": r.choice(["▁", " "])},
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
         "lowercase": r.random() < 0.5}])


def byte_level(r):
    return {"type": "ByteLevel", "add_prefix_space": r.random() < 0.4, "trim_offsets": True,
            "use_regex": r.random() < 0.6}


def metaspace(r):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": r.choice(["always", "first", "never"]),
            "split": r.random() < 0.6}


def pre_tokenizer(r):
    split = {"type": "Split", "pattern": {"Regex": r.choice(EXPRESSIONS)}, "behavior": r.choice(BEHAVIORS),
             "invert": r.random() < 0.3}
    return r.choice([split, split, split, byte_level(r), metaspace(r),
                     {"type": "Split", "pattern": {"String": r.choice([" ", "e", "▁"])},
                      "behavior": r.choice(BEHAVIORS), "invert": r.random() < 0.3},
                     {"type": "Digits", "individual_digits": r.random() < 0.5},
                     {"type": "Punctuation", "behavior": r.choice(BEHAVIORS)},
                     {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
                     {"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "FixedLength", "length": 3},
                     {"type": "UnicodeScripts"}])


def decoder(r):
    return r.choice([byte_level(r), metaspace(r), {"type": "ByteFallback"}, {"type": "Fuse"},
                     {"type": "Strip", "content": " ", "start": r.choice([0, 1, 2]), "stop": 0},
                     {"type": "Replace", "pattern": {"String": r.choice(["▁", "Ġ"])}, "content": " "},
                     {"type": "BPEDecoder", "suffix": "</w>"},
                     {"type": "WordPiece", "prefix": "##", "cleanup": r.random() < 0.5}])


def post_processor(r):
    text, begin = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": r.choice([[begin, text], [text, end], [begin, text, end]]),
                "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
                                   "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
    bert = {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}
    roberta = dict(bert, type="RobertaProcessing", trim_offsets=True, add_prefix_space=False)
    return r.choice([None, template, bert, roberta, byte_level(r),
                     {"type": "Sequence", "processors": [byte_level(r), template]},
                     {"type": "Sequence", "processors": [bert, byte_level(r), roberta]}])


def added_tokens(r, vocab):
    out = []
    for content in r.sample(["<a>", "<b>", "the", "</s>", " x", "\n", "▁▁", "Day", "É", "<|im_end|>", "<a><b>"], 4):
        out.append({"id": vocab.get(content, len(vocab) + len(out)), "content": content,
                    **{flag: r.random() < 0.4 for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}})
    return out


def make_tokenizer(r, all_bases):
    case = json.loads(json.dumps(r.choice(all_bases)))
    model = case["model"]
    if r.random() < 0.5:
        model["merges"] = [" ".join(merge) for merge in model["merges"]]
    for flag in ("ignore_merges", "fuse_unk", "byte_fallback"):
        model[flag] = r.random() < 0.4
    model["unk_token"] = r.choice([None, "<unk>"])
    case["normalizer"] = sequence(r, normalizer, "normalizers", 3)
    case["pre_tokenizer"] = sequence(r, pre_tokenizer, "pretokenizers", 2)
    if "Ġ" in model["vocab"] and r.random() < 0.7:
        steps = [case["pre_tokenizer"]] if case["pre_tokenizer"] else []
        case["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps + [byte_level(r)]}
    case["decoder"] = sequence(r, decoder, "decoders", 3)
    case["post_processor"] = post_processor(r)
    case["added_tokens"] = added_tokens(r, model["vocab"])
    return case


def quietly(call):
    try:
        return call()
    except BaseException:  # the package panics on some combinations: nothing to compare with
        return None


def make_case(r, all_bases, texts):
    return rows_of(r, make_tokenizer(r, all_bases), texts)


def rows_of(r, case, texts):
    tokenizer = quietly(lambda: Tokenizer.from_str(json.dumps(case)))
    rows, decoded = [], []
    if tokenizer is None:
        return None
    # The package cuts everywhere, or panics, if nothing is left of a token that it normalizes.
    if tokenizer.normalizer and any(token["normalized"] and not tokenizer.normalizer.normalize_str(token["content"])
                                    for token in case["added_tokens"]):
        return None
    for _ in range(texts):
        text = random_text(r, [token["content"] for token in case["added_tokens"]])
        ids = quietly(lambda: [tokenizer.encode(text, add_special_tokens=s).ids for s in (False, True)])
        if ids:
            rows.append({"text": text, "ids": ids[0], "ids_with_special": ids[1]})
        some = r.choices(range(tokenizer.get_vocab_size() + 2), k=r.randrange(1, 12))
        back = quietly(lambda: tokenizer.decode(some, skip_special_tokens=False))
        if back is not None:
            decoded.append({"ids": some, "decoded": back})
    return {"tokenizer": case, "rows": rows, "decoded": decoded}


def compare(binary, case):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(case["tokenizer"], file)
        file.flush()

        def run(lines, *flags):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            out = subprocess.run([binary, "--model=" + file.name, *flags], input=text, text=True,
                                 capture_output=True)
            if out.returncode:
                print(out.stderr)
            return [json.loads(line) for line in out.stdout.split("\n") if line]

        rows, decoded = case["rows"], case["decoded"]
        plain, special = run(rows), run(rows, "--special")
        texts = run(decoded, "--decode")
        bad = [row for row, a, b in zip(rows, plain, special)
               if (a["ids"], b["ids"]) != (row["ids"], row["ids_with_special"])]
        bad += [row for row, a in zip(decoded, texts) if a["text"] != row["decoded"]]
        if bad or len(plain) != len(rows) or len(texts) != len(decoded):
            settings = {k: v for k, v in case["tokenizer"].items() if k != "model"}
            print("DIFFERENT", len(bad), ascii(bad[:2]), json.dumps(settings), flush=True)
        return len(bad)


def archived_cases(folder, texts):
    for path in sorted(pathlib.Path(folder).glob("*.tar.xz")):
        with tarfile.open(path) as archive:
            member = next(m for m in archive.getmembers() if m.name.endswith("tokenizer.json"))
            yield rows_of(random.Random(path.name), json.load(archive.extractfile(member)), texts)


def compare_all(binary, count, folder=None):
    all_bases = list(bases())
    made = [make_case(random.Random(seed), all_bases, 300) for seed in range(count)]
    if folder:
        made += archived_cases(folder, 2000)
    made = list(filter(None, made))
    differences = sum(compare(binary, case) for case in made)
    print(f"{len(made)} tokenizers, differences: {differences}")
    return differences


def main():
    if len(sys.argv) > 1:
        raise SystemExit(compare_all(sys.argv[2], int(sys.argv[3]), *sys.argv[5:]) > 0)
    all_bases = list(bases())
    cases = [make_case(random.Random(1000 + seed), all_bases, 12) for seed in range(60)]
    # The bases are written once: their vocabularies are the bulk.
    models_seen = []
    for case in filter(None, cases):
        model = case["tokenizer"]["model"]
        large = {"vocab": model.pop("vocab"), "merges": model.pop("merges")}
        if large not in models_seen:
            models_seen.append(large)
        model["base"] = models_seen.index(large)
    cases = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases if case]
    large = [json.dumps(model, ensure_ascii=False, separators=(",", ":")) for model in models_seen]
    print('{"bases":[\n' + ",\n".join(large) + '\n],"cases":[\n' + ",\n".join(cases) + "\n]}")


if __name__ == "__main__":
    main()
