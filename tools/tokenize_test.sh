#!/bin/bash
# tokenize as a user runs it: what goes in, what comes out, what an error looks like.
set -u
tokenize=$PWD/tools/tokenize
cd "$TEST_TMPDIR"
mkdir -p model
cat > model/tokenizer.json <<'JSON'
{"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
 "post_processor": {"type": "BertProcessing", "cls": ["<s>", 3], "sep": ["<s>", 3]},
 "decoder": {"type": "Fuse"},
 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
JSON
failures=0

# expect NAME EXIT-CODE WANTED-TEXT INPUT FLAGS…: the text is part of what is printed on either stream.
expect() {
  local name=$1 code=$2 wanted=$3 input=$4 got
  shift 4
  got=$(printf "$input" | "$tokenize" "$@" 2>&1)
  local rc=$?
  if [[ $rc -ne $code || $got != *"$wanted"* ]]; then
    echo "FAILED $name: want exit code $code and: $wanted"
    echo "got $rc and: $got"
    failures=$((failures + 1))
  fi
}

expect encode 0 '{"ids": [2, 0]}' '{"text": "aba"}\n' --model=model
expect file 0 '{"ids": [2]}' '{"text": "ab"}' --model model/tokenizer.json
expect mark_and_integer 0 '{"ids": [2]}' '\xef\xbb\xbf{"text": "ab", "n": 123456789012345678901}\r\n' --model=model
expect special 0 '{"ids": [3, 2, 3]}' '{"text": "ab"}\n' --model=model --special
expect decode 0 '{"text": "<s>ab"}' '{"ids": [3, 2, 99, -1, 99999999999]}\n' --model=model --decode
BUILD_WORKING_DIRECTORY=$TEST_TMPDIR/model expect relative 0 '{"ids": []}' '{"text": ""}' --model=.
mkdir -p hub/models--org--name/snapshots/abc hub/models--org--name/refs
cp model/tokenizer.json hub/models--org--name/snapshots/abc
echo abc > hub/models--org--name/refs/main
HF_HUB_CACHE=$TEST_TMPDIR/hub expect hub_id 0 '{"ids": [2]}' '{"text": "ab"}' --model=org/name
HF_HUB_CACHE=$TEST_TMPDIR/hub expect other_hub_id 1 'hf download org/other' '' --model=org/other
expect bad_line 1 'standard input:2] this is not JSON: line 1, byte' '{"text": "a"}\n{"text": \n' --model=model
expect first_lines_are_kept 1 '{"ids": [0]}' '{"text": "a"}\n{"text": \n' --model=model
expect wrong_type 1 'standard input:1] [text] want {"text"' '{"text": 3}\n' --model=model
expect surrogate 1 'standard input:1]' '{"text": "\\ud800"}\n' --model=model
expect utf8 1 'standard input:1]' '{"text": "\xff"}\n' --model=model
expect ids 1 'standard input:1] [ids] want whole numbers' '{"ids": [1.5]}\n' --model=model --decode
expect unknown_flag 1 'HINT: did you mean --special?' '' --model=model --specal
expect no_model 1 '[--model] want a value' ''
expect missing 1 'nowhere/tokenizer.json' '' --model=nowhere/tokenizer.json
sed -i 's/"Fuse"/"CTC"/' model/tokenizer.json
expect unsupported 1 'tokenizer.json: decoder.type] the decoder "CTC" is not supported' '' --model=model
exit $((failures > 0))
