"""Compares what is learned with the assistant masks of transformers, over templates with
{% generation %} blocks. Run by hand:

  pip install transformers trl
  python compare_masks.py DOCTOR MODEL TEMPLATE…

MODEL is a folder with config.json, tokenizer.json and tokenizer_config.json, TEMPLATE a .jinja file
(TRL ships some in trl/chat_templates/*_training.jinja), DOCTOR the binary of //tools:doctor. Two
differences are meant, and counted apart: white space behind the token that ends a turn is not
learned, and a token belongs to where it begins. All others are printed.
"""

import collections
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "jinja/testdata"))
import compare  # noqa: E402


def conversations(count):
    chats = compare.Chats(1)
    for _ in range(count):
        messages = []
        if chats.chance(0.4):
            messages.append({"role": "system", "content": chats.text()})
        for _ in range(chats.random.randint(1, 3)):
            messages.append({"role": "user", "content": chats.text()})
            answer = {"role": "assistant", "content": chats.text()}
            if chats.chance(0.2):
                answer["reasoning_content"] = chats.text()
            if chats.chance(0.25):
                call = {"name": "f", "arguments": {"q": chats.value()}}
                answer["tool_calls"] = [{"id": "abcdefghi", "type": "function", "function": call}]
                result = {"role": "tool", "content": chats.text(), "name": "f"}
                messages += [answer, {**result, "tool_call_id": "abcdefghi"}]
                answer = {"role": "assistant", "content": chats.text()}
            messages.append(answer)
        yield {"messages": messages, **({"tools": [chats.tool()]} if chats.chance(0.3) else {})}


def read_cache(path):
    """Line to (ids, mask) of its document; data/token_cache.cc has the layout."""
    data = path.read_bytes()
    trailer = len(data) - 112
    _, _, num_tokens, num_documents, _ = struct.unpack_from("<8sQQQQ", data, trailer)
    tokens = struct.unpack_from(f"<{num_tokens}I", data)
    begin = 4 * (num_tokens + num_tokens % 2)
    documents = {}
    for i in range(num_documents):
        first, _, line, _, _, size, _ = struct.unpack_from("<QQqIIII", data, begin + 40 * i)
        own = tokens[first : first + size]
        documents[line] = ([t & 0x7FFFFFFF for t in own], [t >> 31 for t in own])
    return documents


def ours(doctor, model, template, chats):
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "chats.jsonl"
        data.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
        subprocess.run(
            [doctor, f"--model={model}", f"--train_file={data}", f"--chat_template={template}",
             f"--cache_dir={folder}", f"--template_date={compare.DATE}", "--skip_bad_documents",
             "--json"],
            capture_output=True,
        )  # fmt: skip
        return read_cache(next(pathlib.Path(folder).glob("*.tokens")))


def kind_of_difference(tokenizer, ids, wanted, got, i):
    if not got[i] and not wanted[i - 1]:
        return "begins before the span"
    if not got[i] and got[i - 1] and ids[i - 1] in tokenizer.added_tokens_decoder:
        if not tokenizer.decode([ids[i]]).strip():
            return "white space behind the end"
    return "OTHER"


def compare_template(doctor, model, tokenizer, template):
    source = pathlib.Path(template).read_text()
    chats, expected = [], []
    for chat in conversations(80):
        try:
            out = tokenizer.apply_chat_template(
                chat["messages"], tools=chat.get("tools"), chat_template=source, return_dict=True,
                tokenize=True, return_assistant_tokens_mask=True,
            )  # fmt: skip
        except Exception:  # the template's own refusal
            continue
        chats.append(chat)
        expected.append((list(out["input_ids"]), [0] + list(out["assistant_masks"])[1:]))
    if not chats:
        return collections.Counter(["no conversation fits"])
    found = ours(doctor, model, template, chats)
    kinds = collections.Counter(conversations=len(chats))
    for line, (ids, wanted) in enumerate(expected, 1):
        our_ids, got = found.get(line, ([], []))
        if our_ids != ids:
            kinds["OTHER ids"] += 1
            continue
        wrong = [i for i in range(len(ids)) if wanted[i] != got[i]]
        for kind in {kind_of_difference(tokenizer, ids, wanted, got, i) for i in wrong}:
            kinds[kind] += 1
            if kind == "OTHER":
                print(json.dumps(chats[line - 1]), wrong)
    return kinds


def main():
    doctor, model, *templates = sys.argv[1:]
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(model)
    for template in templates:
        print(template, dict(compare_template(doctor, model, tokenizer, template)), flush=True)


if __name__ == "__main__":
    main()
