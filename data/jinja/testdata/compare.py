"""Compares the template engine with jinja2 in the environment of transformers. Run by hand.

  pip install jinja2
  python compare.py expect                     rewrites expected.jsonl from its own templates
  python compare.py chats RENDER FOLDER… [-n N] [--seed S]
        renders N generated conversations a template, over all *.jinja below the folders and the
        templates of *.json lists ({"chat_template"}), with the binary RENDER (//tools:render) and
        with jinja2, and prints the first difference of each template

expected.jsonl is one {"template", "text"} or {"template", "error"} a line, for the variables of
variables.json. To add a case, append a line with its template alone and run `expect`.
"""

import argparse
import datetime
import json
import pathlib
import random
import subprocess
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox
import jinja2.utils

HERE = pathlib.Path(__file__).parent
DATE = "2026-11-22"


class Generation(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %}: a call block that gives its text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("text_of")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def text_of(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __setitem__(self, name, value):
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"{name}: begins with an underscore")
        super().__setitem__(name, value)


def raise_exception(message):
    raise jinja2.TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


# The environment that transformers renders chat templates in.
ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
)
ENVIRONMENT.filters["tojson"] = to_json
ENVIRONMENT.globals["namespace"] = Namespace
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = datetime.datetime.fromisoformat(DATE).strftime


def jinja2_result(template, variables):
    try:
        return {"text": ENVIRONMENT.from_string(template).render(**variables)}
    except Exception as error:  # whatever jinja2 and Python raise counts as the template's error
        return {"error": f"{type(error).__name__}: {error}"}


def render(binary, template, lines):
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", newline="") as file:
        file.write(template)
        file.flush()
        done = subprocess.run(
            [binary, "--chat_template", file.name, "--template_date", DATE],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        return [{"error": done.stderr}] * len(lines)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Chats:
    """Generated conversations: well-formed ones, and ones that no template expects."""

    TEXTS = [
        "", "Hello", "Größe 日本 😀", "  pad \n", "<think>\nhmm\n</think>\n\nanswer", "a</think>b",
        "<tool_response>x</tool_response>", "line1\nline2", '{"a": 1}', "it's \"q\"", "x" * 50,
        "\t", "<|im_end|>", "{{ x }}", "**", "Cutting", "  ",
    ]  # fmt: skip

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, probability):
        return self.random.random() < probability

    def text(self):
        more = self.random.choice(self.TEXTS) if self.chance(0.3) else ""
        return self.random.choice(self.TEXTS) + more

    def value(self, depth=0):
        kind = self.random.random()
        if kind < 0.3:
            return self.text()
        if kind < 0.45:
            return self.random.randint(-5, 10 ** self.random.randint(0, 18))
        if kind < 0.55:
            return self.random.choice([0.1, 1.0, 1e20, -2.5e-7, 3.14])
        if kind < 0.65 or depth > 2:
            return self.random.choice([True, False, None])
        if kind < 0.8:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        names = ["q", "n", "k k", "é", "items", "type"]
        return {
            self.random.choice(names) + str(i): self.value(depth + 1)
            for i in range(self.random.randint(0, 3))
        }

    def parameter(self):
        types = ["string", "integer", "array", ["string", "null"], "object", "boolean"]
        out = {"type": self.random.choice(types), "description": self.text()}
        if self.chance(0.3):
            out["enum"] = ["a", "b"]
        if self.chance(0.3):
            out["items"] = {"type": "string"}
        if self.chance(0.2):
            out["default"] = self.value()
        return out

    def tool(self):
        names = self.random.sample(["city", "unit", "n"], self.random.randint(0, 3))
        function = {
            "name": self.random.choice(["get_weather", "f", "sum_é"]),
            "description": self.text(),
            "parameters": {
                "type": "object",
                "properties": {name: self.parameter() for name in names},
                "required": self.random.sample(["city", "unit"], self.random.randint(0, 2)),
            },
        }
        return {"type": "function", "function": function} if self.chance(0.9) else function

    def content(self):
        kind = self.random.random()
        if kind < 0.75:
            return self.text()
        if kind < 0.83:
            return None
        if kind < 0.97:
            parts = [
                {"type": "text", "text": self.text()},
                {"type": "image"},
                {"type": "text", "content": self.text()},
            ]
            return [self.random.choice(parts) for _ in range(self.random.randint(0, 3))]
        return self.random.choice([5, {"a": 1}])

    def tool_call(self):
        arguments = [{"q": self.value()}, {"a": self.value(), "b": self.value()}, '{"q": 1}', {}]
        call = {"function": {"name": "f", "arguments": self.random.choice(arguments)}}
        if self.chance(0.7):
            call = {"id": self.random.choice(["abcdefghi", "call_1"]), "type": "function", **call}
        return call

    def message(self, role):
        out = {"role": role}
        if self.chance(0.97):
            out["content"] = self.content()
        if role == "assistant" and self.chance(0.3):
            out["tool_calls"] = [self.tool_call() for _ in range(self.random.randint(0, 2))]
        if role == "assistant" and self.chance(0.2):
            out["reasoning_content"] = self.random.choice([self.text(), None])
        if role == "tool" and self.chance(0.6):
            out["tool_call_id"] = self.random.choice(["abcdefghi", "call_1"])
        if role == "tool" and self.chance(0.4):
            out["name"] = "f"
        return out

    def messages(self):
        out = []
        if self.chance(0.4):
            out.append(self.message(self.random.choice(["system", "system", "developer"])))
        if self.chance(0.25):
            roles = ["user", "assistant", "tool", "system", "weird", "ipython", "function"]
            count = self.random.randint(0, 5)
            return out + [self.message(self.random.choice(roles)) for _ in range(count)]
        for _ in range(self.random.randint(0, 3)):
            out += [self.message("user"), self.message("assistant")]
            if self.chance(0.3):
                out += [self.message("tool"), self.message("assistant")]
        if self.chance(0.5):
            out.append(self.message("user"))
        return out

    def variables(self):
        out = {"messages": self.messages(), "bos_token": "<s>", "eos_token": "</s>"}
        optional = {
            "tools": [self.tool() for _ in range(self.random.randint(0, 3))],
            "add_generation_prompt": self.chance(0.5),
            "enable_thinking": self.chance(0.5),
            "date_string": "26 Jul 2024",
            "documents": [{"title": self.text(), "text": self.text()}],
            "custom_tools": [self.tool()],
            "builtin_tools": ["a", "b"],
            "tools_in_user_message": self.chance(0.5),
            "pad_token": "<pad>",
        }
        likely = {"tools": 0.4, "add_generation_prompt": 0.6}
        for name, value in optional.items():
            if self.chance(likely.get(name, 0.15)):
                out[name] = value
            elif self.chance(0.3):
                out[name] = None
        return out


def templates_of(folders):
    for folder in map(pathlib.Path, folders):
        for path in sorted(folder.rglob("*.jinja")):
            with path.open(newline="") as file:
                yield str(path), file.read()
        for path in sorted(folder.rglob("*.json")):
            for case in json.loads(path.read_text()):
                if isinstance(case, dict) and "chat_template" in case:
                    yield f"{path}: {case['name']}", case["chat_template"]


def compare_chats(options):
    chats = Chats(options.seed)
    cases = wrong = raised = 0
    for name, template in templates_of(options.folders):
        lines = [chats.variables() for _ in range(options.n)]
        shown = False
        for line, ours in zip(lines, render(options.render, template, lines)):
            theirs = jinja2_result(template, line)
            cases += 1
            raised += "error" in theirs
            same = ours.get("text") == theirs.get("text")
            wrong += not same
            if not same and not shown:
                shown = True
                print(f"{name}\n  {json.dumps(line)}\n  jinja2: {theirs}\n  ours:   {ours}")
    print(f"seed {options.seed}: {cases} cases, {raised} raise in jinja2, {wrong} differ")
    return 1 if wrong else 0


def write_expected():
    variables = json.loads((HERE / "variables.json").read_text())
    path = HERE / "expected.jsonl"
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    lines = []
    for case in cases:
        result = jinja2_result(case["template"], variables)
        lines.append(json.dumps({"template": case["template"], **result}) + "\n")
    path.write_text("".join(lines))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("expect")
    chats = commands.add_parser("chats")
    chats.add_argument("render")
    chats.add_argument("folders", nargs="+")
    chats.add_argument("-n", type=int, default=50)
    chats.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return write_expected() if options.command == "expect" else compare_chats(options)


if __name__ == "__main__":
    raise SystemExit(main())
