"""A program is judged as Python judges it: forms of tests, values, exceptions and library use that people have."""

import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import Case, Check, Limits, Program, StdinCase, run_programs

LIMITS = Limits(seconds=20.0)


def verdict(sandbox, source, test, entry="f"):
    test = Check(test) if isinstance(test, str) else test
    outcome = run_programs(sandbox, [Program(source, entry)], [[test]], LIMITS)[0].outcomes[0]
    return str(outcome.verdict), outcome.feedback


SHAPES = (
    "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n    def total(self): return self.a + self.b\n"
)
STACK = (
    "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
    "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n"
)
ERRORS = (
    "class Empty(LookupError):\n    def __init__(self, what, code): super().__init__(what, code); self.code = code\n"
    "    def __str__(self): return f'nothing in {self.args[0]}'\ndef f(): raise Empty('box', 7)\n"
)
RIGHT = {  # program, test code
    "complex argument": (
        "import cmath\ndef f(a, b): return cmath.phase(a + b)",
        "assert f(0, 1j) == 1.5707963267948966",
    ),
    "complex result": ("def f(a): return a * 1j", "assert f(2) == 2j and f(1j) == -1"),
    "function": ("def f(g, x): return g(x)", "assert f(lambda v: v + 1, 2) == 3"),
    "method": ("def f(g):\n    for x in (1, 2): g(x)", "seen = []\nf(seen.append)\nassert seen == [1, 2]"),
    "mock": (
        "def f(g): g(1, b=2)",
        "from unittest.mock import Mock\ng = Mock()\nf(g)\ng.assert_called_once_with(1, b=2)",
    ),
    "function of the library": ("def f(g, x): return g(x, key=abs)", "assert f(sorted, [2, -1]) == [-1, 2]"),
    "type": ("def f(x, kind): return isinstance(x, kind)", "assert f(1, int) and not f(1, (str, bytes))"),
    "type returned": ("def f(x): return type(x)", "assert f(1) is int"),
    "function that calls back": (
        "def f(g, n): return n if n < 2 else g(n - 1) + 1",
        "g = lambda n: f(g, n)\nassert f(g, 5) == 5",
    ),
    "function that raises": (
        "def f(g):\n    try: g()\n    except KeyError as e: return e.args[0]",
        "def g(): raise KeyError('k')\nassert f(g) == 'k'",
    ),
    "decorator": ("def f(g):\n    def h(x): return 2 * g(x)\n    return h", "h = f(lambda x: x + 1)\nassert h(3) == 8"),
    "object": (SHAPES + "def f(ps): return sum(p.a for p in ps)", "assert f([Pair(1, 2)]) == 1"),
    "object returned": (
        SHAPES + "def f(): return Pair(1, 2)",
        "p = f()\nassert p.a == 1 and p.total() == 3 and isinstance(p, Pair)",
    ),
    "class": (STACK, "s = Stack()\ns.push(3)\nassert len(s) == 1 and s.pop() == 3", "Stack"),
    "error of a class": (
        STACK,
        "import pytest\ndef test_pop():\n    with pytest.raises(IndexError):\n        Stack().pop()",
        "Stack",
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(p): return P(p.x + 1)",
        "assert f(P(1)).x == 2",
    ),
    "named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(p): return P(p.y, p.x)",
        "assert f(P(1, 2)) == (2, 1) and f(P(1, 2)).x == 2",
    ),
    "enum": (
        "import enum\nclass C(enum.Enum):\n    A = 1\ndef f(): return C.A",
        "assert f().value == 1 and f().name == 'A' and f() is C.A",
    ),
    "range": ("def f(n): return range(n)", "assert list(f(3)) == [0, 1, 2] and f(3) == range(3)"),
    "map": ("def f(x): return map(int, x)", "assert list(f('12')) == [1, 2]"),
    "generator": ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2] and next(f(1)) == 0"),
    "generator without end": (
        "import itertools\ndef f(): return itertools.count()",
        "from itertools import islice\nassert list(islice(f(), 3)) == [0, 1, 2]",
    ),
    "iterator": ("def f(x): return next(x) + next(x)", "assert f(iter([1, 2])) == 3 and f(i for i in (3, 4)) == 7"),
    "views": ("def f(d): return d.keys()", "assert sorted(f({2: 1, 1: 2})) == [1, 2]"),
    "Fraction": ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "assert f() == 0.5"),
    "Decimal": (
        "from decimal import Decimal\ndef f(x): return x * 2",
        "from decimal import Decimal\nassert f(Decimal('0.1')) == Decimal('0.2')",
    ),
    "deque": (
        "from collections import deque\ndef f(x): return deque(x)",
        "from collections import deque\nassert f([1]) == deque([1])",
    ),
    "Counter": (
        "from collections import Counter\ndef f(x): return Counter(x)",
        "assert f('aab').most_common(1) == [('a', 2)] and f('')['z'] == 0",
    ),
    "defaultdict": ("from collections import defaultdict\ndef f(): return defaultdict(list)", "assert f()['a'] == []"),
    "date": (
        "import datetime\ndef f(d): return d + datetime.timedelta(1)",
        "import datetime\nassert f(datetime.date(2024, 2, 28)).day == 29",
    ),
    "instant": (
        "import datetime as d\ndef f(): return d.datetime(2020, 1, 1, 1, tzinfo=d.timezone(d.timedelta(hours=1)))",
        "import datetime as d\nassert f() == d.datetime(2020, 1, 1, tzinfo=d.timezone.utc)",
    ),
    "bytearray": ("def f(x): x.append(1)", "x = bytearray()\nf(x)\nassert x == b'\\x01'"),
    "in place": ("def f(x): x.sort()", "a = [2, 1]\nf(a)\nassert a == [1, 2]"),
    "in place, deep": (
        "def f(x): x[0].append(3); x[1]['k'] = 1",
        "inner = []\nx = [inner, {}]\nf(x)\nassert inner == [3] and x[1] == {'k': 1}",
    ),
    "in place, and right": ("def f(x): x.sort(); return x[0]", "assert f([2, 1]) == 1"),
    "asynchronous test case": (
        "def f(x): return x",
        "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test(self):\n"
        "        self.assertEqual(f(1), 1)",
    ),
    "in place, set": ("def f(x): x.discard(1)", "x = {1, 2}\nf(x)\nassert x == {2}"),
    "argument returned": ("def f(x): return x", "x = [1]\nassert f(x) is x"),
    "copy returned": ("def f(x): return list(x)", "x = [1]\nassert f(x) is not x and f(x) == x"),
    "coroutine": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1",
        "import asyncio\nassert asyncio.run(f(1)) == 2",
    ),
    "helper of the program": (
        "def value(c, x): return c[0] + c[1] * x\ndef f(c): return -c[0] / c[1]",
        "def check(candidate):\n    assert abs(value([1.0, 2.0], candidate([1.0, 2.0]))) < 1e-9\n",
    ),
    "constant of the program": ("LIMIT = 3\ndef f(): return LIMIT", "assert f() == LIMIT"),
    "module of the program": ("import math\ndef f(x): return x", "assert math.isclose(f(0.1 + 0.2), 0.3)"),
    "import of the program": ("def f(x): return x", "from solution import f as g\nassert g(1) == 1"),
    "exception of the program": (
        ERRORS,
        "try:\n    f()\n    assert False\nexcept Empty as e:\n    assert e.args == ('box', 7) and e.code == 7",
    ),
    "its base": (
        ERRORS,
        "try:\n    f()\n    assert False\nexcept LookupError as e:\n"
        "    assert str(e) == 'nothing in box' and type(e).__name__ == 'Empty'",
    ),
    "exception with arguments": (
        "def f(): raise KeyError('a', 2)",
        "try:\n    f()\nexcept KeyError as e:\n    assert e.args == ('a', 2)",
    ),
    "exception of the system": (
        "def f(): open('/nothing')",
        "try:\n    f()\nexcept FileNotFoundError as e:\n    assert e.errno == 2",
    ),
    "exception of the library": (
        "import json\ndef f(): json.loads('{')",
        "import json\ntry:\n    f()\nexcept json.JSONDecodeError as e:\n"
        "    assert e.pos == 1 and 'Expecting' in str(e)",
    ),
    "assertion expected": (
        "def f(x): assert x > 0, 'small'",
        "import pytest\ndef test():\n    with pytest.raises(AssertionError, match='small'):\n        f(-1)",
    ),
    "exit expected": (
        "import sys\ndef f(): sys.exit(3)",
        "import pytest\ndef test():\n    with pytest.raises(SystemExit) as e:\n        f()\n"
        "    assert e.value.code == 3",
    ),
    "unittest raises": (
        ERRORS,
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
        "        self.assertRaisesRegex(Empty, 'box', f)",
    ),
    "fixture": (
        "def f(x): return sum(x)",
        "import pytest\n@pytest.fixture\ndef data():\n    yield [1, 2]\ndef test_sum(data):\n    assert f(data) == 3",
    ),
    "set up": (
        "def f(x): return x",
        "class TestF:\n    def setup_method(self):\n        self.x = 3\n    def test(self):\n"
        "        assert f(self.x) == 3",
    ),
    "called by the file": (
        "n = []\ndef f(): n.append(1); return len(n)",
        "def test():\n    assert f() == 1\ntest()\nprint('ok')",
    ),
    "helper named check": ("def f(x): return x", "def check(a, b):\n    assert a == b\ncheck(f(1), 1)"),
    "long integers": ("def f(): return {10 ** 400: {10 ** 400}}", "assert f() == {10 ** 400: {10 ** 400}}"),
    "decorator that checks types": (
        "import inspect\ndef typed(g):\n"
        "    kinds = [p.annotation for p in inspect.signature(g).parameters.values()]\n    def run(*a):\n"
        "        if not all(isinstance(x, k) for x, k in zip(a, kinds)): raise TypeError('wrong type')\n"
        "        return g(*a)\n    return run\n@typed\ndef f(x: int):\n    return x + 1\n",
        "assert f(1) == 2",
    ),
    "fields of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n    y: float\ndef f():\n"
        "    return [field.type.__name__ for field in dataclasses.fields(P)]\n",
        "assert f() == ['int', 'float']",
    ),
    "singledispatch": (
        "from functools import singledispatch\ndef f(x):\n    class A: pass\n    @singledispatch\n"
        "    def g(v): return 'other'\n    @g.register\n    def _(v: A): return 'A'\n    return g(A())\n",
        "assert f(1) == 'A'",
    ),
    "zoneinfo": (
        "import datetime, zoneinfo\ndef f():\n    zone = zoneinfo.ZoneInfo('Europe/Paris')\n"
        "    return str(datetime.datetime(2020, 1, 1, tzinfo=zone).utcoffset())",
        "assert f() == '1:00:00'",
    ),
    "multiprocessing": (
        "import multiprocessing\ndef g(x): return 2 * x\ndef f():\n"
        "    with multiprocessing.Pool(2) as p: return p.map(g, [1, 2])",
        "assert f() == [2, 4]",
    ),
    "exit in a branch": (
        "def f():\n    try:\n        exit(3)\n    except SystemExit as e:\n        return e.code",
        "assert f() == 3",
    ),
    "source": (
        "import inspect\ndef g(): return 1\nclass A:\n    pass\n"
        "def f(): return inspect.getsource(g) + inspect.getsource(A)",
        "assert f() == 'def g(): return 1\\nclass A:\\n    pass\\n'",
    ),
    "signature": (
        "def f(a, b=1):\n    'adds'\n    return a + b",
        "import inspect\nassert list(inspect.signature(f).parameters) == ['a', 'b']\n"
        "assert f.__doc__ == 'adds' and f.__name__ == 'f' and f(1) == 2",
    ),
    "random numbers": (
        "import random\ndef f(): return random.random()",
        "import random\nrandom.seed(3)\nx = random.random()\nrandom.seed(3)\nassert f() == x",
    ),
    "module of another name": ("def f(x): return x", "from src.my_solution import f\nassert f(1) == 1"),
    "threads of the test": (
        "def f(x): return x + 1",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n"
        "    assert list(pool.map(f, [1, 2, 3])) == [2, 3, 4]",
    ),
    "cause": (
        "def f():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n        raise ValueError('v') from e",
        "try:\n    f()\nexcept ValueError as e:\n    assert isinstance(e.__cause__, ZeroDivisionError)",
    ),
    "group of exceptions": (
        "def f(): raise ExceptionGroup('g', [ValueError(1)])",
        "try:\n    f()\nexcept* ValueError as e:\n    assert e.exceptions[0].args == (1,)",
    ),
    "generator that ends": (
        "def f():\n    x = yield 1\n    yield x",
        "g = f()\nassert next(g) == 1 and g.send(5) == 5\ntry:\n    next(g)\n    assert 0\nexcept StopIteration: pass",
    ),
    "linked list": (
        "class Node:\n    def __init__(self, value, next=None): self.value, self.next = value, next\n"
        "def f(node):\n    last = None\n    while node: node.next, last, node = last, node, node.next\n    return last",
        "node = f(Node(1, Node(2)))\nassert node.value == 2 and node.next.value == 1 and node.next.next is None",
    ),
    "context manager": (
        "import contextlib\n@contextlib.contextmanager\ndef f():\n    yield 3",
        "with f() as x:\n    assert x == 3",
    ),
    "printed text": (
        "def f(x): print('value', x)",
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as text:\n    f(3)\n"
        "assert text.getvalue() == 'value 3\\n'",
    ),
    "pickle": (
        "import pickle\nclass A: pass\ndef f(): return type(pickle.loads(pickle.dumps(A()))).__name__",
        "assert f() == 'A'",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_python_passes_passes(sandbox, name):
    source, code, *entry = RIGHT[name]
    assert verdict(sandbox, source, code, *entry) == ("pass", "")


OTHER = {  # program, test, verdict, words of the feedback
    "wrong in place": ("def f(x): x.reverse()", "a = [2, 1, 3]\nf(a)\nassert a == [1, 2, 3]", "wrong", "a == "),
    "wrong, and changes its argument": ("def f(x): x.sort(); return x[1]", "assert f([2, 1]) == 1", "wrong", "failed"),
    "argument passed twice": (
        "def f(x): x[0].append(1)",
        "row = []\nx = [row, row]\nf(x)\nassert x[1] == [1]",
        "unsupported",
        "twice",
    ),
    "more threads than allowed": (
        "import threading, time\ndef f():\n    for _ in range(40):\n"
        "        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()",
        Case((), None),
        "error",
        "than the limits allow",
    ),
    "value and change": (
        "def f(x): x.pop(); return 3",
        "x = [1]\nassert f(x) == 3 and x == []",
        "unsupported",
        "in place",
    ),
    "objects compared": (SHAPES + "def f(): return Pair(1, 2)", "assert f() == Pair(1, 2)", "unsupported", "type Pair"),
    "object of the test": ("def f(x): return x.a", "class A:\n    a = 1\nassert f(A()) == 1", "unsupported", "type A"),
    "file of the test": (
        "def f(x): return x.read()",
        "import io\nassert f(io.StringIO('a')) == 'a'",
        "unsupported",
        "StringIO",
    ),
    "input of the test": (
        "def f(): return int(input())",
        "from unittest.mock import patch\nwith patch('builtins.input', return_value='3'):\n    assert f() == 3",
        "unsupported",
        "patch(",
    ),
    "environment of the test": (
        "import os\ndef f(): return os.environ['K']",
        "import os\nos.environ['K'] = 'v'\nassert f() == 'v'",
        "unsupported",
        "os.environ",
    ),
    "call that is interrupted": (
        "import time\ndef f(x):\n    time.sleep(x)\n    return 0",
        "import signal\ndef late(*_): raise TimeoutError\nsignal.signal(signal.SIGALRM, late)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\ntry:\n    f(0.5)\nexcept TimeoutError:\n    pass\nassert f(1) == 0",
        "unsupported",
        "interrupts",
    ),
    "subclass of the test": (
        STACK + "def f(): return 1",
        "class Mine(Stack):\n    pass\nassert len(Mine()) == f()",
        "unsupported",
        "mro_entries",
    ),
    "copy of an object": (
        STACK + "def f(s): return len(s)",
        "import copy\nassert f(copy.deepcopy(Stack())) == 0",
        "unsupported",
        "deepcopy",
    ),
    "fixture that is not there": ("def f(): print(1)", "def test_f(capsys):\n    f()", "unsupported", "fixture capsys"),
    "library that is not there": ("def f(): return 1", "import numpy\nassert f() == 1", "unsupported", "numpy"),
    "part that is not there": (
        "def f(): return 1",
        "import pytest\npytest.importorskip('os')",
        "unsupported",
        "importorskip",
    ),
    "map in a case": ("def f(x): return map(int, x)", Case(("12",), [1, 2]), "unsupported", "type map"),
    "no such zone": (
        "import zoneinfo\ndef f(): return zoneinfo.ZoneInfo('Mars/Base').key",
        Case((), "x"),
        "unsupported",
        "time zone",
    ),
    "entry is missing": ("def g(): return 1", "assert f() == 1", "error", "NameError"),
    "called nothing": ("def f(): return 1", "def test_f():\n    assert True", "untested", "never called"),
    "range for a list": ("def f(n): return range(n)", Case((3,), [0, 1, 2]), "wrong", "range(0, 3)"),
    "set for a list": ("def f(n): return {n}", "assert f(3) == [3]", "wrong", "f(3)"),
    "failed test case": (
        "def f(): return 1",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(), 2)",
        "wrong",
        "1 != 2",
    ),
    "stop expected": (
        "def f(): raise StopIteration",
        "try:\n    f()\nexcept StopIteration:\n    pass",
        "unsupported",
        "StopIteration",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_does_not_pass_says_why(sandbox, name):
    source, test, expected, words = OTHER[name]
    found, feedback = verdict(sandbox, source, test)
    assert found == expected, feedback
    assert words in feedback


ECHO = "n = int(input())\nprint(2 * n)\n"
SCRIPTS = {
    "doubles": (ECHO, StdinCase("21", "42"), "pass", ""),
    "spaces": ("print('1  2 ')\nprint()\nprint(3)", StdinCase("", "1 2\n3\n"), "pass", ""),
    "all at once": (
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        StdinCase("1 2\n3\n", "6"),
        "pass",
        "",
    ),
    "bytes": (
        "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line[::-1])",
        StdinCase("ab\n", "ba"),
        "pass",
        "",
    ),
    "descriptors": ("import os\nos.write(1, os.read(0, 9))", StdinCase("ab", "ab"), "pass", ""),
    "main guard": ("def main(): print(1)\nif __name__ == '__main__': main()", StdinCase("", "1"), "pass", ""),
    "exit": ("import sys\nprint(1)\nsys.exit()", StdinCase("", "1"), "pass", ""),
    "thread": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print(1))).start()",
        StdinCase("", "1"),
        "pass",
        "",
    ),
    "recursion": (
        "import sys\nsys.setrecursionlimit(10000)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(5000))",
        StdinCase("", "5000"),
        "pass",
        "",
    ),
    "large input": ("import sys\nprint(len(sys.stdin.read()))", StdinCase("x" * 3_000_000, "3000000"), "pass", ""),
    "input not read": ("print(1)", StdinCase("x" * 3_000_000, "1"), "pass", ""),
    "unicode": ("print(input()[::-1])", StdinCase("äß€", "€ßä"), "pass", ""),
    "tolerance": ("print(1 / 3)", StdinCase("", "0.333333", tolerance=1e-5), "pass", ""),
    "no tolerance": ("print(1 / 3)", StdinCase("", "0.333333"), "wrong", "printed '0.33"),
    "integer is exact": ("print(1001)", StdinCase("", "1000", tolerance=0.1), "wrong", "printed"),
    "more words": ("print(1, 2)", StdinCase("", "1"), "wrong", "printed '1 2"),
    "wrong": ("print(input())", StdinCase("21", "42"), "wrong", "printed '21"),
    "end of input": ("input(); input()", StdinCase("1", "1"), "error", "EOFError: EOF when reading a line at line 1"),
    "exit code": ("import sys\nprint(1)\nsys.exit(2)", StdinCase("", "1"), "error", "SystemExit: 2"),
    "half a character": ("print('\ud800')", StdinCase("\ud800", "1"), "error", "UnicodeEncodeError"),
    "syntax": ("print(", StdinCase("", "1"), "error", "SyntaxError"),
    "endless": ("while True: pass", StdinCase("", "1"), "timeout", "did not finish"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_programs_on_standard_input(sandbox, name):
    source, case, expected, words = SCRIPTS[name]
    limits = Limits(seconds=1.0 if expected == "timeout" else 20.0)
    report = run_programs(sandbox, [Program(source)], [[case]], limits)[0]
    assert str(report.outcomes[0].verdict) == expected, report.feedback()
    assert words in report.feedback()


def test_what_cannot_be_asked_is_refused_before_anything_runs(sandbox):
    with pytest.raises(UserError, match="at least one word"):
        StdinCase("1", " \n")
    with pytest.raises(UserError, match="name of its function as entry"):
        run_programs(sandbox, [Program(ECHO)], [[Case((), 1)]])


HOSTILE = [
    "[{10 ** 400}, {10 ** 400: 1}]",
    "{10 ** 400}",
    "{10 ** 400: 10 ** 400}",
    "__import__('decimal').Decimal('1e999999')",
    "__import__('decimal').Decimal('sNaN')",
    "{__import__('decimal').Decimal('9e9999')}",
    "__import__('fractions').Fraction(10 ** 9999, 7)",
    "range(10 ** 5000)",
    "{float('nan')}",
    "{'a': {1: {2: {3: {4}}}}}",
]


def test_feedback_shows_calls_that_python_does_not_print(sandbox):
    report = run_programs(sandbox, [Program("def f(x, y): return x", "f")], [[Case((10**5000,), 1, {"y": 2})]], LIMITS)
    assert report[0].feedback().startswith("call(0x")
    assert "expected 1" in report[0].feedback()


def test_one_hostile_value_does_not_lose_the_verdicts_of_others(sandbox):
    programs = [Program(f"def f(): return {value}", "f") for value in HOSTILE] + [Program("def f(): return {1}", "f")]
    reports = run_programs(
        sandbox, programs, [[Case((), {1}), Case((), {1: 2}), Case((), 1.5)]] * len(programs), LIMITS
    )
    assert [report.reward for report in reports[:-1]] == [0] * len(HOSTILE)
    assert [str(outcome.verdict) for outcome in reports[-1].outcomes] == ["pass", "wrong", "wrong"]


REPLIES = [
    b"",
    b"null",
    b"[]",
    b"3",
    b'{"passed": true}',
    b'{"value": {"a": 1}}',
    b'{"value": ["what", 1]}',
    b'{"value": ["int", "zz"]}',
    b'{"value": ["ref"]}',
    b'{"value": ["ref", 0, {}]}',
    b'{"value": ["ref", "x", {"coroutine": false, "type": 3, "call": 1, "iterator": 1}]}',
    b'{"value": ["ref", 0, {"coroutine": false, "type": "\\u0000", "call": 1, "iterator": 1}]}',
    b'{"value": ["named", "P", ["class"], 1]}',
    b'{"value": ["named", "P", [["x"]], 1]}',
    b'{"value": ["collection", "defaultdict", ["dict"], 3]}',
    b'{"value": ["derived", "P", null]}',
    b'{"value": ["derived", "P", true]}',
    b'{"value": ["exception", ["builtins", "StopIteration", []]]}',
    b'{"value": ["back", 7]}',
    b'{"value": ["dict", [["list"], 1]]}',
    b'{"value": ["set", ["list"]]}',
    b'{"value": ["Decimal", "1e99999999"]}',
    b'{"value": ["range", "0x1", "0x2", "0x0"]}',
    b'{"value": null, "arguments": 3}',
    b'{"value": null, "arguments": [["tuple", 1, 2], ["dict"]]}',
    b'{"value": null, "same": 9}',
    b'{"value": null, "printed": 3}',
    b'{"callback": 0, "args": 1, "kwargs": 2}',
    b'{"callback": "x"}',
    b'{"error": 3}',
    b'{"error": {"class": 3}}',
    b'{"error": {"class": ["builtins", "int", []]}}',
    b'{"error": {"class": ["builtins", "GeneratorExit", []]}}',
    b'{"error": {"class": ["unittest.case", "SkipTest", []]}}',
    b'{"error": {"class": ["a", "B", [["builtins", "OSError", []], ["builtins", "KeyError", []]]]}}',
    b'{"error": {"class": ["a", "B", [["a", "B", []]]], "arguments": [["list", ["what"]]], "attributes": 3}}',
    b'{"error": {"class": ["builtins", "ValueError", []], "attributes": {"args": 1, "x": ["what"]}, "cause": {}}}',
    b'{"missing": 1}',
    b'{"uncarried": 3}',
    b'{"value": ' + b'["list",' * 3000 + b"1" + b"]" * 3000 + b"}",
]


def test_no_reply_of_the_candidate_s_process_makes_a_test_pass_or_the_harness_fail(sandbox):
    send = "import os, time\ndef f(x):\n    os.write(201, len({0}).to_bytes(4, 'big') + {0})\n    time.sleep(0.2)\n"
    programs = [Program(send.format(repr(data)), "f") for data in REPLIES]
    test = Check(
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        assert list(f([1])) == [3]"
    )
    for program, report in zip(
        programs, run_programs(sandbox, programs, [[test]] * len(programs), LIMITS), strict=True
    ):
        (outcome,) = report.outcomes
        assert str(outcome.verdict) in ("crash", "error", "wrong", "unsupported"), (program.source, outcome)
        assert "\n" not in outcome.feedback
