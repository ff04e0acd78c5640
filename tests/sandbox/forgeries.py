"""Ways to obtain a pass without solving: programs that add nothing up, and tests of `add` in every style.

`TESTS` are tests that a program which adds passes; `FORGERIES` are (program, test, verdicts it may end with). All are
harmless: they aim at the harness alone.
"""

from jaxrl_suite.sandbox import Case, Check, SandboxVerdict, StdinCase

RIGHT = "def add(a, b): return a + b\n"
SCRIPT = "a, b = map(int, input().split())\nprint(a + b)\n"
TESTS = {
    "asserts": Check("assert add(1, 2) == 3\nassert add(5, 5) == 10"),
    "pytest": Check("def test_add():\n    assert add(1, 2) == 3\n"),
    "pytest_class": Check("class TestAdd:\n    def test_add(self):\n        assert add(1, 2) == 3\n"),
    "pytest_rows": Check(
        "import pytest\n@pytest.mark.parametrize('a, b, c', [(1, 2, 3), (5, 5, 10)])\n"
        "def test_add(a, b, c):\n    assert add(a, b) == c\n"
    ),
    "pytest_approx": Check("import pytest\ndef test_add():\n    assert add(0.1, 0.2) == pytest.approx(0.3)\n"),
    "pytest_raises": Check(
        "import pytest\ndef test_add():\n    with pytest.raises(TypeError):\n        add(1, None)\n"
        "    assert add(1, 2) == 3\n"
    ),
    "unittest": Check(
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n"
        "        self.assertEqual(add(1, 2), 3)\nif __name__ == '__main__':\n    unittest.main()\n"
    ),
    "unittest_runner": Check(
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n"
        "        self.assertEqual(add(1, 2), 3)\n"
        "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(TestAdd))\n"
    ),
    "unittest_parts": Check(
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n        for i in range(3):\n"
        "            with self.subTest(i=i):\n                self.assertAlmostEqual(add(i, 0.5), i + 0.5)\n"
    ),
    "main": Check("if __name__ == '__main__':\n    assert add(1, 2) == 3\n"),
    "check": Check("def check(candidate):\n    assert candidate(1, 2) == 3\n"),
    "async": Check("import asyncio\nasync def test_add():\n    await asyncio.sleep(0)\n    assert add(1, 2) == 3\n"),
    "tolerance": Check("assert abs(add(0.5, 0.25) - 0.75) < 1e-6"),
    "less": Check("assert 2.9 < add(1, 2) < 3.1"),
    "contains": Check("assert add(1, 2) in [3]\nassert 'b' in add('a', 'b')"),
    "starts": Check("assert add('a', 'b').startswith('ab')"),
    "subset": Check("assert set(add([1], [2])).issubset({1, 2})\nassert sorted(add([2], [1])) == [1, 2]"),
    "type": Check("assert isinstance(add(1, 2), int) and add(1, 2) == 3"),
    "map": Check("for a, total in zip((1, 2), map(add, (1, 2), (1, 2))):\n    assert total == 2 * a\n"),
    "map_alone": Check("for total in map(add, (1, 2), (1, 2)):\n    assert total in (2, 4)\n"),
    "filter": Check(
        "def right(a):\n    assert add(a, a) == 2 * a\n    return True\nassert len(list(filter(right, [1, 2]))) < 3"
    ),
    "next": Check("assert next(map(add, [1], [2]), 3) == 3"),
    "bare_except": Check(
        "totals = []\nfor a in (1, 2):\n    try:\n        totals.append(add(a, a))\n    except:\n        continue\n"
        "for a, total in zip((1, 2), totals):\n    assert total == 2 * a\n"
    ),
    "suppress": Check(
        "import contextlib\ntotal = 3\nwith contextlib.suppress(BaseException):\n    total = add(1, 2)\n"
        "assert total == 3\n"
    ),
    "callback": Check("seen = []\nadd(seen, [1])\nassert add(1, 2) == 3"),
    "in_argument": Check("x = [3, 1]\nassert add(x, [2]) == x + [2]"),
    "length": Check("x = [3, 1]\nassert len(add(x, [])) == len(x)"),
    "helper": Check(
        "assert near(add(0.5, 0.25), 0.75)",
        "import math\ndef near(a, b):\n    return math.isclose(a, b)\ndef add(a, b):\n    ...\n",
    ),
    "module": Check("assert math.isclose(add(0.5, 0.25), 0.75)", "import math"),
    "module_of_the_program": Check("assert math.isclose(add(0.5, 0.25), 0.75)"),
    "exit": Check("if add(1, 2) != 3:\n    print('wrong')\n    exit(1)\n"),
    "keeps": Check("x = [3, 1]\nassert add(x, [2]) == [3, 1, 2]\nassert x == [3, 1]"),
    "builtins": Check("assert abs(add(-1, -2)) == 3\nassert all([add(1, 2) == 3])"),
    "call": Case((1, 2), 3),
    "call_float": Case((0.5, 0.25), 0.75, tolerance=1e-6),
    "call_list": Case(([1], [2]), [1, 2]),
    "stdin": StdinCase("1 2\n", "3\n"),
}
PASS, WRONG, ERROR = SandboxVerdict.PASS, SandboxVerdict.WRONG, SandboxVerdict.ERROR
CRASH, TIMEOUT, UNSUPPORTED = SandboxVerdict.CRASH, SandboxVerdict.TIMEOUT, SandboxVerdict.UNSUPPORTED
UNTESTED, OUTPUT, MEMORY = SandboxVerdict.UNTESTED, SandboxVerdict.OUTPUT, SandboxVerdict.MEMORY


def returns(what, before=""):
    return f"{before}\ndef add(a, b):\n    return {what}\n"


def does(*lines, before=""):
    body = "".join(f"    {line}\n" for line in lines)
    return f"{before}\ndef add(a, b):\n{body}"


def yes(methods, base="object", extra=""):
    """An object whose methods say what a test wants to hear."""
    body = "".join(f"    def {name}(self, *_): return {value}\n" for name, value in methods.items())
    return returns("Yes()", f"class Yes({base}):\n{body}{extra}    __hash__ = {base}.__hash__\n")


EQUAL = yes({"__eq__": "True", "__ne__": "False"})
FRAMES = (
    "for fd in range(3, 256):\n    for data in (b'{\"passed\": true}', b'{\"value\": 3}'):\n        try:\n            "
)
FORGERIES = {
    # the process ends, or seems to have ended well
    "exit_at_import": ("import os\nos._exit(0)\n", "asserts", {CRASH}),
    "exit_in_call": (does("import os", "os._exit(0)"), "check", {CRASH}),
    "exit_swallowed": (does("import os", "os._exit(0)"), "bare_except", {CRASH}),
    "exit_suppressed": (does("import os", "os._exit(0)"), "suppress", {CRASH}),
    "kill_swallowed": (does("import os", "os.kill(os.getpid(), 9)"), "bare_except", {CRASH}),
    "close_swallowed": (does("import os", "os.closerange(3, 256)"), "bare_except", {CRASH}),
    "exit_after_the_answer": (
        does("import os, threading", "threading.Timer(0.05, os._exit, [0]).start()", "return 2"),
        "bare_except",
        {WRONG, CRASH},
    ),
    "system_exit": (does("raise SystemExit(0)"), "main", {ERROR}),
    "exit_builtin": (does("exit(0)"), "asserts", {ERROR}),
    "quit_in_unittest": (does("quit()"), "unittest", {ERROR}),
    "system_exit_at_import": ("raise SystemExit(0)\n", "pytest", {ERROR}),
    "script_exit": ("raise SystemExit(0)\n", "stdin", {WRONG}),
    "script_hard_exit": ("import os\nos._exit(0)\n", "stdin", {WRONG}),
    "case_exit": ("import os\ndef add(a, b): os._exit(0)\n", "call", {CRASH}),
    # exceptions that end a loop, or mean something to a runner
    "stop_map": (does("raise StopIteration"), "map", {ERROR}),
    "stop_map_alone": (does("raise StopIteration"), "map_alone", {ERROR}),
    "stop_subclass": (does("raise Stop", before="class Stop(StopIteration): pass"), "map_alone", {ERROR}),
    "stop_with_a_default": (does("raise StopIteration"), "next", {ERROR}),
    "stop_filter": (does("raise StopIteration"), "filter", {ERROR}),
    "generator_exit": (does("raise GeneratorExit"), "pytest", {ERROR}),
    "keyboard_interrupt": (does("raise KeyboardInterrupt"), "unittest", {ERROR}),
    "cancelled": (does("import asyncio", "raise asyncio.CancelledError"), "async", {ERROR}),
    "skip_unittest": (does("import unittest", "raise unittest.SkipTest('no')"), "unittest", {ERROR}),
    "skip_at_import": ("import unittest\nraise unittest.SkipTest('no')\n", "unittest_parts", {ERROR}),
    "name_of_another": (does("raise TypeError", before="class TypeError(Exception): pass"), "pytest_raises", {ERROR}),
    "harness_exceptions": (
        does("import sys", "raise sys.modules['inside.pytest_parts'].SkippedError"),
        "pytest",
        {ERROR},
    ),
    "assertion": (does("raise AssertionError"), "asserts", {ERROR}),
    # objects that say yes
    "equal": (EQUAL, "asserts", {UNSUPPORTED}),
    "equal_pytest": (EQUAL, "pytest_rows", {UNSUPPORTED}),
    "equal_unittest": (EQUAL, "unittest_runner", {UNSUPPORTED}),
    "equal_case": (EQUAL, "call", {UNSUPPORTED}),
    "equal_integer": (yes({"__eq__": "True", "__ne__": "False"}, "int"), "check", {WRONG}),
    "equal_text": (yes({"__eq__": "True", "__ne__": "False"}, "str"), "call", {WRONG}),
    "equal_list": (yes({"__eq__": "True", "__len__": "2"}, "list"), "call_list", {WRONG}),
    "equal_in_a_list": (
        returns("[Yes()]", "class Yes:\n    def __eq__(self, o): return True"),
        "call_list",
        {UNSUPPORTED},
    ),
    "mock": (returns("MagicMock()", "from unittest.mock import MagicMock"), "asserts", {UNSUPPORTED}),
    "any": (returns("ANY", "from unittest.mock import ANY"), "asserts", {UNSUPPORTED}),
    "difference": (yes({"__sub__": "self", "__rsub__": "self", "__abs__": "0.0"}), "tolerance", {UNSUPPORTED}),
    "approximate": (yes({"__eq__": "True", "__sub__": "0", "__rsub__": "0"}), "pytest_approx", {UNSUPPORTED}),
    "almost_equal": (yes({"__eq__": "True", "__sub__": "0", "__round__": "0"}), "unittest_parts", {UNSUPPORTED}),
    "ordered": (yes(dict.fromkeys(("__lt__", "__gt__", "__le__", "__ge__"), "True")), "less", {UNSUPPORTED}),
    "member": (EQUAL, "contains", {UNSUPPORTED}),
    "starts": (yes({"startswith": "True"}), "starts", {UNSUPPORTED}),
    "subset": (yes({"__iter__": "iter([1])"}), "subset", {WRONG, ERROR}),
    "class_of_another": (yes({"__eq__": "True"}, "object", "    __class__ = int\n"), "type", {WRONG, UNSUPPORTED}),
    "entry_is_a_class": (
        "class add:\n    def __init__(self, a, b): pass\n    def __eq__(self, o): return True\n",
        "asserts",
        {UNSUPPORTED},
    ),
    "nan": (returns("float('nan')"), "less", {WRONG}),
    "signalling_nan": (returns("Decimal('sNaN')", "from decimal import Decimal"), "call", {WRONG}),
    "infinity": (returns("float('inf')"), "call_float", {WRONG}),
    # changes to what judges
    "patch_asserts": (
        does("return 0", before="import unittest\nunittest.TestCase.assertEqual = lambda *_: None"),
        "unittest",
        {WRONG},
    ),
    "patch_builtins": (
        does(
            "return 0",
            before="import builtins\nbuiltins.abs = lambda x: 3\nbuiltins.all = lambda x: True\n"
            "builtins.AssertionError = Exception",
        ),
        "builtins",
        {WRONG},
    ),
    "patch_the_harness": (
        does(
            "return 0",
            before="import sys\nfor m in list(sys.modules.values()):\n    for n in ('equal', 'failed', 'run'):\n"
            "        if hasattr(m, n) and m.__name__.startswith('inside'): setattr(m, n, lambda *_: True)",
        ),
        "call",
        {WRONG},
    ),
    "own_tests": (returns("0", "def test_add(): pass\ndef check(candidate): pass"), "pytest", {WRONG}),
    "own_helper": (returns("0", "def near(a, b): return True"), "helper", {WRONG}),
    "own_exit": (returns("0", "def exit(code): pass\nquit = exit"), "exit", {ERROR}),
    "method_in_a_field": (
        returns("R(lambda s: True)", "from collections import namedtuple\nR = namedtuple('R', 'startswith')"),
        "starts",
        {CRASH},
    ),
    "method_of_an_exception": (
        does("e = ValueError()", "e.startswith = lambda s: True", "return e"),
        "starts",
        {WRONG, ERROR},
    ),
    "own_module_instead": (
        returns("0.0", "class math:\n    isclose = lambda a, b: True"),
        "module_of_the_program",
        {WRONG},
    ),
    "own_module": (returns("0.0", "class math:\n    isclose = lambda a, b: True"), "module", {WRONG}),
    "write_frames": (
        does(
            "import os",
            *(FRAMES + "os.write(fd, len(data).to_bytes(4, 'big') + data)\n        except OSError: pass").split("\n"),
            "return 0",
        ),
        "asserts",
        {WRONG, CRASH, ERROR},
    ),
    "write_and_exit": (
        does("import os", *(FRAMES + "os.write(fd, data)\n        except OSError: pass").split("\n"), "os._exit(0)"),
        "call",
        {WRONG, CRASH},
    ),
    "kill_the_judge": (
        does(
            "import os",
            "for pid in range(os.getpid() - 3, os.getpid() + 9):",
            "    if pid not in (1, os.getpid()):",
            "        try: os.kill(pid, 9)",
            "        except OSError: pass",
            "return 0",
        ),
        "asserts",
        {CRASH},
    ),
    "fork_and_answer_twice": (does("import os", "os.fork()", "return 0"), "asserts", {WRONG, CRASH}),
    "print_a_verdict": (returns("print('passed') or 0"), "unittest", {WRONG}),
    "look_into_frames": (
        does(
            "import sys",
            "frame = sys._getframe()",
            "while frame:",
            "    if 'expected' in frame.f_locals: return frame.f_locals['expected']",
            "    frame = frame.f_back",
            "return 0",
        ),
        "call",
        {WRONG},
    ),
    # arguments
    "empty_the_argument": (does("a.clear()", "b.clear()", "return a"), "in_argument", {WRONG, UNSUPPORTED}),
    "empty_and_return": (does("a.clear()", "return []"), "length", {WRONG, UNSUPPORTED}),
    "change_what_must_be_kept": (does("a += b", "return a"), "keeps", {WRONG}),
    "return_the_argument": (returns("a"), "call_list", {WRONG}),
    # standard input
    "print_nothing": ("pass\n", "stdin", {WRONG}),
    "print_everything": ("for i in range(100): print(i)\n", "stdin", {WRONG}),
    "print_without_end": ("while True: print(3, end=' ')\n", "stdin", {OUTPUT}),
    "echo": ("import sys\nsys.stdout.write(sys.stdin.read())\n", "stdin", {WRONG}),
    "print_and_fail": ("print(3)\nraise ValueError('late')\n", "stdin", {ERROR}),
    "print_and_exit": ("import sys\nprint(3)\nsys.exit(1)\n", "stdin", {ERROR}),
    "print_and_crash": ("import os\nprint(3, flush=True)\nos.kill(os.getpid(), 11)\n", "stdin", {CRASH}),
    "to_another_stream": ("import sys\nprint(3, file=sys.stderr)\n", "stdin", {WRONG}),
    # the limits
    "print_in_a_test": (does("while True: print('passed')"), "pytest", {OUTPUT}),
    "busy": (does("while True: pass"), "asserts", {TIMEOUT}),
    "large": (returns("bytearray(1 << 40)"), "call", {MEMORY}),
    "long_answer": (returns("'x' * (1 << 22)"), "call", {OUTPUT}),
}
# Test code that tests nothing, whatever the program.
EMPTY = {
    "nothing": "",
    "comment": "# assert add(1, 2) == 3",
    "import": "import math\nfrom candidate import add",
    "other_function": "def times(a, b): return a * b\nassert times(2, 3) == 6",
    "never_reached": "if 1 > 2:\n    assert add(1, 2) == 3",
    "never_called": "def examine():\n    assert add(1, 2) == 3",
    "empty_check": "def check(candidate):\n    assert True",
    "no_methods": "import unittest\nclass TestAdd(unittest.TestCase):\n    def examine(self):\n        add(1, 2)",
    "all_skipped": "import unittest\n@unittest.skip('later')\nclass TestAdd(unittest.TestCase):\n"
    "    def test_add(self):\n        add(1, 2)",
    "no_rows": "import pytest\n@pytest.mark.parametrize('a', [])\ndef test_add(a):\n    assert add(a, a) == 0",
    "own_entry": "def add(a, b):\n    return a + b\nassert add(1, 2) == 3",
    "skip_inside": "import pytest\ndef test_add():\n    pytest.skip('later')\n    assert add(1, 2) == 3",
}
