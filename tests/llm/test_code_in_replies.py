"""Code in replies: the shapes in which models really put it, one table for the one parser."""

import argparse
import ast
import inspect
import io
import random
import textwrap
import time
import tokenize

import pytest

from jaxrl_suite.llm.fences import StringState, blocks_of, without_thinking
from jaxrl_suite.llm.parsing import code_of

CODE = """\
def solve(xs):
    total = 0
    for x in xs:
        total += x
    return total
"""
DRAFT = "def solve(xs):\n    return 0\n"
DOCSTRING = '''\
def solve(xs):
    """Sums.

    Example:
    ```python
    solve([1, 2])
    ```
    """
    return sum(xs)
'''
FLAT_DOCSTRING = '''\
"""The sum of numbers.

```
solve([1, 2])
```

```python
print(solve([3]))
```
"""


def solve(xs):
    return sum(xs)
'''
STRING = '''\
def solve(xs):
    return """
```
""".strip() + str(sum(xs))
'''
HELPER = "def add(a, b):\n    return a + b\n"
USES = "def solve(xs):\n    total = 0\n    for x in xs:\n        total = add(total, x)\n    return total\n"
IMPORTS = "import math\nfrom functools import reduce\n"
MATH = "def solve(xs):\n    return math.fsum(xs)\n"
SCRIPT = "n = int(input())\nprint(n)\n"
TAG_IN_STRING = 'def solve(text):\n    return text.split("</think>")[-1]\n'


def indent(text, by):
    return "".join(by + line if line.strip() else line for line in text.splitlines(keepends=True))


def fenced(code, info="python", fence="```"):
    return f"{fence}{info}\n{code}{fence}"


SHAPES = {
    # one block
    "plain": (fenced(CODE), CODE),
    "no language": (fenced(CODE, ""), CODE),
    "Py": (fenced(CODE, "Py"), CODE),
    "python3": (fenced(CODE, "python3"), CODE),
    "Python 3.11": (fenced(CODE, "Python 3.11"), CODE),
    "a blank before the language": (fenced(CODE, " python"), CODE),
    "attributes": (fenced(CODE, "{.python .numberLines}"), CODE),
    "a file name": (fenced(CODE, "python:solution.py"), CODE),
    "a title": (fenced(CODE, 'python title="solution.py"'), CODE),
    "an odd language": (fenced(CODE, "solve"), CODE),
    "tildes": (fenced(CODE, "python", "~~~"), CODE),
    "four backticks": (fenced(CODE, "python", "````"), CODE),
    "a longer end": (f"```python\n{CODE}`````", CODE),
    "blanks behind the fences": (f"```python   \n{CODE}```   \n", CODE),
    "Windows lines": (fenced(CODE).replace("\n", "\r\n"), CODE),
    "a byte order mark": ("\ufeff" + fenced(CODE), CODE),
    "prose around": (f"Sure! Here is the function:\n\n{fenced(CODE)}\n\nIt adds up the numbers.", CODE),
    # fences that end or begin badly
    "never closed": (f"Sure!\n```python\n{CODE}", CODE),
    "closed behind the code": (f"```python\n{CODE.rstrip()}```\nDone.", CODE),
    "closed behind a string": (
        '```python\ndef solve(x):\n    return """a\nb"""```',
        'def solve(x):\n    return """a\nb"""\n',
    ),
    "opened behind words": (f"Here is the code: ```python\n{CODE}```", CODE),
    "on one line": ("```python def solve(xs): return sum(xs)```", "def solve(xs): return sum(xs)\n"),
    "closed at the wrong indent": (f"```python\n{CODE}    ```\nDone.", CODE),
    "opened twice": (f"```python\n```python\n{CODE}```\n```", CODE),
    "begun again": (f"```python\nx = 1\n```python\n{CODE}```", CODE),
    "an empty block behind": (f"{fenced(CODE)}\n```\n```", CODE),
    # fences in the code
    "a fence in a docstring": (fenced(DOCSTRING), DOCSTRING),
    "a fence in a docstring, never closed": (f"```python\n{DOCSTRING}", DOCSTRING),
    "a fence in a docstring at the margin": (f"{fenced(FLAT_DOCSTRING)}\nThat is all.", FLAT_DOCSTRING),
    "a fence in a string": (fenced(STRING), STRING),
    "backticks in a tilde block": (fenced(FLAT_DOCSTRING, "python", "~~~"), FLAT_DOCSTRING),
    "backticks in a longer block": (fenced(FLAT_DOCSTRING, "python", "````"), FLAT_DOCSTRING),
    "an apostrophe in a comment": (fenced("# don't\n" + CODE) + "\n\nIt's done.", "# don't\n" + CODE),
    # indent and quotes
    "in a list": (f"1. Write it:\n   {indent(fenced(CODE), '   ').strip()}\n2. Done.", CODE),
    "in a list, deep": (f"- a\n  - b\n\n{indent(fenced(CODE), '      ')}\n", CODE),
    "on the line of an item": (f"1. {indent(fenced(CODE), '   ').strip()}\n2. Done.", CODE),
    "on the line of a late item": (f"10. {indent(fenced(DOCSTRING), '    ').strip()}\n11. Done.", DOCSTRING),
    "words behind the end": (f"```python\n{CODE}``` Done.\nThat is all.", CODE),
    "a class": (fenced("class Solution:\n" + indent(CODE, "    ")), "class Solution:\n" + indent(CODE, "    ")),
    "with tabs": (f"-\tHere:\n\t{indent(fenced(CODE), chr(9)).strip()}", CODE),
    "quoted": ("".join(f"> {line}\n" for line in fenced(CODE).splitlines()), CODE),
    "code indented in the block": (fenced(indent(CODE, "    ")), CODE),
    "a session": (
        fenced(">>> def solve(xs):\n...     return sum(xs)\n...\n>>> solve([1])\n1\n"),
        "def solve(xs):\n    return sum(xs)\n\nsolve([1])\n",
    ),
    # several blocks
    "the last wins": (f"{fenced(DRAFT)}\nor better\n{fenced(CODE)}", CODE),
    "an example behind": (f"{fenced(CODE)}\nUse it so:\n{fenced('print(solve([1]))')}", CODE),
    "output behind": (f"{fenced(CODE)}\nwhich prints\n{fenced('3', '')}", CODE),
    "a shell before and behind": (
        f"{fenced('pip install x', 'bash')}\n{fenced(CODE)}\n{fenced('python a.py', 'sh')}",
        CODE,
    ),
    "a helper in a block of its own": (f"{fenced(HELPER)}\nand\n{fenced(USES)}", f"{HELPER}\n\n{USES}"),
    "imports in a block of their own": (f"{fenced(IMPORTS)}\nThen:\n{fenced(MATH)}", f"{IMPORTS}\n\n{MATH}"),
    "a draft with the same helper": (f"{fenced(HELPER + DRAFT)}\n{fenced(HELPER + USES)}", HELPER + USES),
    "within Markdown": (f"````markdown\n# Answer\n{fenced(CODE)}\n````", CODE),
    # no block
    "bare": (CODE, CODE),
    "bare, prose around": (f"Here it is:\n\n{CODE}\nThis adds up the numbers, one by one.", CODE),
    "bare, with imports": (f"{IMPORTS}\n{MATH}", f"{IMPORTS}\n{MATH}"),
    "tags": (f"[PYTHON]\n{CODE}[/PYTHON]", CODE),
    "tags of XML": (f"<answer>\n{CODE}</answer>", CODE),
    # thoughts
    "a thought": (f"<think>\nfirst\n{fenced(DRAFT)}\n</think>\n\n{fenced(CODE)}", CODE),
    "a thought that the prompt began": (f"first\n{fenced(DRAFT)}\n</think>\n{fenced(CODE)}", CODE),
    "a thought with an open block": (f"<think>\n```python\n{DRAFT}</think>\n{fenced(CODE)}", CODE),
    "a thought in other tags": (f"<reasoning>{fenced(DRAFT)}</reasoning>{fenced(CODE)}", CODE),
    "a thought of Magistral": (f"[THINK]{fenced(DRAFT)}[/THINK]{fenced(CODE)}", CODE),
    "two thoughts": (f"<think>a</think>\nSo:\n<think>{fenced(DRAFT)}</think>\n{fenced(CODE)}", CODE),
    "the channels of gpt-oss": (
        f"<|channel|>analysis<|message|>{fenced(DRAFT)}<|end|><|start|>assistant<|channel|>final<|message|>{CODE}",
        CODE,
    ),
    "a tag in the code": (f"Here:\n{fenced(TAG_IN_STRING)}", TAG_IN_STRING),
}


def test_the_table_is_long_enough():
    assert len(SHAPES) >= 40


@pytest.mark.parametrize("shape", SHAPES)
def test_the_code_is_found_as_it_is(shape):
    answer, expected = SHAPES[shape]
    found = code_of(answer, "solve")
    assert found.problem == ""
    assert found.text == expected
    ast.parse(found.text)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("<think>\nLet me see\n" + fenced(CODE), "broke off within its thoughts"),
        ("<think>", "broke off within its thoughts"),
        ("Fine.\n<think>\n" + fenced(CODE), "holds no code"),
        (fenced("pip install x", "bash"), "holds no code"),
        (fenced('{"a": 1}', "json"), "holds no code"),
        ("", "holds no code: put the whole function solve in one block of ```python"),
    ],
)
def test_an_answer_without_code_says_why(answer, problem):
    assert problem in code_of(answer, "solve").problem


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (fenced(SCRIPT), SCRIPT),
        (f"{fenced(SCRIPT)}\nOutput:\n{fenced('3', '')}", SCRIPT),
        (f"The program:\n\n{SCRIPT}\nIt prints n.", SCRIPT),
        (CODE, CODE),
    ],
)
def test_a_program_needs_no_function(answer, expected):
    assert code_of(answer) == (expected, "")
    assert "put the whole program" in code_of("no").problem


def test_blocks_know_their_places():
    answer = f"a\n{fenced(CODE)}\nb\n~~~ bash\nls\n"
    first, second = blocks_of(answer)
    assert answer[first.start : first.end] == fenced(CODE) + "\n"
    assert (first.language, first.is_closed, second.language, second.is_closed) == ("python", True, "bash", False)
    assert second.text == "ls\n"


def test_thoughts_are_cut_out():
    assert without_thinking("no tags at all") == "no tags at all"
    assert without_thinking("<think>a</think>b<think>c</think>d") == "b<think>c</think>d"  # within a line it is text
    assert without_thinking("a</think>b") == "b"
    assert without_thinking("<think>a") == ""


def test_open_strings_are_those_of_the_tokenizer():
    """On modules of the standard library, line by line."""
    for module in (ast, random, textwrap, tokenize, argparse):
        source = inspect.getsource(module)
        inside = {
            line
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.STRING and token.string[-3:] in ('"""', "'''")
            for line in range(token.start[0], token.end[0])
        }
        state = StringState()
        for number, line in enumerate(source.splitlines(keepends=True), 1):
            state.read(line)
            assert bool(state.quotes) == (number in inside), (module, number)


def test_functions_of_the_standard_library_come_back_from_any_wrapping():
    wrappings = [
        lambda code: f"Sure, it's easy:\n```python\n{code}```\nDone, it's 'good'.",
        lambda code: "1. It:\n\n" + textwrap.indent(f"```py\n{code}```", "   ", lambda _: True),
        lambda code: f"```python\n{code}",
        lambda code: f"```python\n{code.rstrip()}```",
        lambda code: f"It isn't hard.\n\n{code}\nThis is what it does.",
        lambda code: f"<think>\n```python\n{code[: len(code) // 2]}\n</think>\n```python\n{code}\n```",
    ]
    for module in (textwrap, tokenize, random, ast):
        source = inspect.getsource(module)
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                code = "".join(source.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno])
                for wrap in wrappings:
                    assert code_of(wrap(code), node.name).text.rstrip() == code.rstrip(), (module, node.name)


@pytest.mark.parametrize("code", [FLAT_DOCSTRING, STRING, DOCSTRING, "x = '''a\n", 'y = "it\'s"\n', "# '''\n"])
def test_open_strings_are_those_of_python(code):
    """Beside Python's own reading: lines end in a string if they do not compile and with the quotes they do."""
    state = StringState()
    for line in code.splitlines(keepends=True):
        state.read(line)
    try:
        ast.parse(code)
        assert state.quotes == ""
    except SyntaxError:
        ast.parse(code + state.quotes)
        assert state.quotes


LONG = ["```a\nx```\n", "abc ```py\nx```\n", '```\n"""\n```\n', "```py\n    ```\n", "<think>\n</think>\n```\n```\n"]
LONG += [
    "> ```\n> x\n",
    "<code>",
    "[PYTHON]",
    "def solve(\n",
    "`` ` ```",
    "```py\nx=1\n```\n",
    "'\\",
    "```py\ndef g():\n",
]


@pytest.mark.parametrize("piece", LONG)
def test_a_long_answer_of_any_piece_is_read_in_linear_time(piece):
    before = time.process_time()
    code_of(piece * (200_000 // len(piece)), "solve")
    assert time.process_time() - before < 5


def test_no_mixture_of_pieces_raises():
    pieces = ["```", "~~~", "python", "\n", " ", "\t", "> ", '"""', "'''", "'", "#", "\\", "def solve(x):", "<think>"]
    pieces += ["</think>", "[PYTHON]", "    return 1\n", ">>> ", "import x", "1. ", "\r\n", "\ufeff", "\0", "\ud800"]
    rng = random.Random(0)
    for _ in range(1000):
        answer = "".join(rng.choices(pieces, k=rng.randrange(40)))
        found = code_of(answer, "solve")
        assert isinstance(found.text, str)
        assert found.problem or found.text.strip()


def test_dedent_leaves_strings_alone():
    code = textwrap.dedent(DOCSTRING)
    assert code_of(fenced(code), "solve").text == code
