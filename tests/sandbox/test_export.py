"""Written array functions: what passes computes what Python would, however it is called; the rest is a verdict."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export
from jax.sharding import PartitionSpec as P

from jaxrl_suite.core import devices
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.bench import heuristics as bench
from jaxrl_suite.sandbox.export import EXPORT, EXPORT_LIMITS, ExportRequest, check_functions, export_functions
from jaxrl_suite.sandbox.records import SandboxVerdict
from jaxrl_suite.sandbox.sandbox import Sandbox

GAME = Gops(6)
REFUSED, WRONG, ERROR = SandboxVerdict.REFUSED, SandboxVerdict.WRONG, SandboxVerdict.ERROR


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox(EXPORT, workers=2)
    except UserError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture(scope="module")
def states():
    """Positions in the middle of games, with hands, scores and prizes that differ."""

    def position(key):
        state = GAME.init(key)
        for turn in range(2):
            bids, draw = jax.random.split(jax.random.fold_in(key, turn))
            state = GAME.step(state, jax.random.categorical(bids, jnp.where(GAME.legal(state), 0.0, -jnp.inf)), draw)
        return state

    return jax.jit(jax.vmap(position))(jax.random.split(jax.random.key(0), 8))


@pytest.fixture(scope="module")
def function(sandbox, states):
    import inspect

    report = export_functions(sandbox, [ExportRequest(inspect.getsource(bench.evaluate), "evaluate", states)])[0]
    assert report.verdict is SandboxVerdict.PASS, report.feedback
    assert report.work > 10
    return report.function


def one(sandbox, source, examples, **options):
    limits = dataclasses.replace(EXPORT_LIMITS, seconds=options.pop("seconds", EXPORT_LIMITS.seconds))
    return export_functions(sandbox, [ExportRequest(source, "evaluate", examples, **options)], limits)[0]


TRANSFORMATIONS = {
    "batched": lambda f, s: f.call(s),
    "jit": lambda f, s: jax.jit(f.call)(s),
    "vmap": lambda f, s: jax.vmap(f.call_one)(s),
    "jit_vmap": lambda f, s: jax.jit(jax.vmap(f.call_one))(s),
    "one_by_one": lambda f, s: jnp.stack([f.call_one(row(s, i)) for i in range(8)]),
    "two_vmaps": lambda f, s: jax.vmap(jax.vmap(f.call_one))(split(s)).reshape(8),
    "three_vmaps": lambda f, s: jax.vmap(jax.vmap(jax.vmap(f.call_one)))(split(split(s))).reshape(8),
    "inner_axis": lambda f, s: jax.vmap(f.call_one, in_axes=-1)(jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), s)),
    "scan": lambda f, s: jax.lax.scan(lambda carry, x: (carry, f.call_one(x)), 0, s)[1],
    "scan_of_vmap": lambda f, s: jax.lax.scan(lambda c, x: (c, jax.vmap(f.call_one)(x)), 0, split(s))[1].reshape(8),
    "vmap_of_scan": lambda f, s: jax.vmap(
        lambda x: jax.lax.scan(lambda _, __: (f.call_one(x), None), 0.0, None, length=2)[0]
    )(s),
    "vmap_of_while": lambda f, s: jax.jit(
        jax.vmap(lambda x: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f.call_one(x)), (0, 0.0))[1])
    )(s),
    "vmap_of_cond": lambda f, s: jax.vmap(lambda x: jax.lax.cond(x.prize >= 0, f.call_one, lambda _: 9.0, x))(s),
}


def row(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def split(tree):
    return jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), tree)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_it_computes_what_python_would_under_every_transformation(function, states, name):
    expected = jax.jit(jax.vmap(bench.evaluate))(states)
    assert len(np.unique(expected)) > 4
    np.testing.assert_allclose(TRANSFORMATIONS[name](function, states), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("number", [1, 2])
def test_it_runs_on_one_device_and_on_two(function, states, number):
    expected = jax.vmap(bench.evaluate)(states)
    mesh = devices.mesh(number)
    sharded = devices.shard_batch(states, mesh)
    by_rows = devices.map_batch(lambda s: jax.vmap(function.call_one)(s), mesh)(sharded)
    mapped = jax.shard_map(jax.vmap(function.call_one), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    compiled = jax.jit(jax.vmap(function.call_one))(sharded)
    for values in (by_rows, jax.jit(mapped)(sharded), compiled):
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
        assert len(values.sharding.device_set) == number


def test_a_part_that_is_not_batched_is_broadcast(function, states):
    first = jax.tree.map(lambda x: x[0], states)
    values = jax.vmap(lambda hands: function.call_one(first._replace(hands=hands)))(states.hands)
    expected = jax.vmap(lambda hands: bench.evaluate(first._replace(hands=hands)))(states.hands)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
    nothing = jax.vmap(function.call_one)(jax.tree.map(lambda x: x[:0], states))
    assert nothing.shape == (0,)


def test_searches_with_it_equal_searches_with_python(monkeypatch):
    """And the bench, which compares their speed, shows that they do."""
    monkeypatch.setattr(bench, "BATCH", 16)
    monkeypatch.setattr(bench, "SIMULATIONS", 32)
    monkeypatch.setattr(bench, "REPEAT", 1)
    try:
        rows = bench.heuristics()
    except UserError as error:
        pytest.skip(str(error))
    assert [row["by"] for row in rows] == ["jaxrl_suite, native", "jaxrl_suite, exported"]
    assert rows[1]["largest difference"] <= 1e-6


class View(NamedTuple):
    x: np.ndarray
    inner: dict


EXAMPLES = View(np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3), {"n": np.arange(5, dtype=np.int32)})


def test_auxiliary_values_have_names(sandbox):
    source = """
def evaluate(view):
    total = jnp.sum(view.x)
    return total * 2, {"total": total, "count": view.inner["n"], "big": total > 0}
"""
    report = one(sandbox, source, EXAMPLES)
    assert report.verdict is SandboxVerdict.PASS, report.feedback
    assert report.function.auxiliary == ("big", "count", "total")
    values, auxiliary = report.function.call_with_auxiliary(EXAMPLES)
    totals = EXAMPLES.x.sum(1)
    np.testing.assert_allclose(values, 2 * totals, atol=1e-6)
    np.testing.assert_allclose(auxiliary["total"], totals, atol=1e-6)
    np.testing.assert_array_equal(auxiliary["count"], np.arange(5.0))
    np.testing.assert_array_equal(auxiliary["big"], (totals > 0) * 1.0)
    first, named = report.function.call_one_with_auxiliary(jax.tree.map(lambda x: x[1], EXAMPLES))
    assert (float(first), float(named["count"])) == (pytest.approx(2 * totals[1]), 1.0)


def test_any_structure_goes_in_and_comes_out(sandbox):
    output = {"a": jax.ShapeDtypeStruct((3,), jnp.float32), "b": (jax.ShapeDtypeStruct((), jnp.int32),) * 2}
    source = """
from __future__ import annotations
from typing import Any
from jax import numpy as np
import jax.numpy as jnp
def evaluate(state: Unknown) -> dict[str, jnp.ndarray]:
    import jax
    pair: tuple = (state[1] + 1, state[1])
    return {"b": pair, "a": np.sort(state[0]["x"])[::-1]}
"""
    examples = ({"x": EXAMPLES.x}, EXAMPLES.inner["n"])
    report = one(sandbox, source, examples, output=output)
    assert report.verdict is SandboxVerdict.PASS, report.feedback
    values = report.function.call(examples)
    np.testing.assert_array_equal(values["a"], np.sort(EXAMPLES.x)[:, ::-1])
    np.testing.assert_array_equal(values["b"][0], np.arange(5) + 1)
    bare = one(sandbox, "def evaluate(x): return x.mean()", EXAMPLES.x)
    np.testing.assert_allclose(bare.function.call(EXAMPLES.x), EXAMPLES.x.mean(1), atol=1e-6)


USUAL = {  # usual code, and its value of each example
    "math": ("import math\nfrom math import pi\ndef evaluate(view): return math.sqrt(4.0) * view.x[0] + math.pi - pi",
             lambda x: 2 * x[:, 0]),
    "annotations": ("import jax\nimport typing\nfrom jax import Array\nfrom typing import NamedTuple\n"
                    "def evaluate(view: NamedTuple) -> jax.Array:\n    first: Array = view.x[0]\n    return first",
                    lambda x: x[:, 0]),
    "instance": ("def evaluate(view):\n    assert isinstance(view.x, jax.Array) and isinstance(view.x, jnp.ndarray)\n"
                 "    return view.x[0]", lambda x: x[:, 0]),
    "grad": ("from jax import grad\ndef evaluate(view): return jax.grad(lambda x: (x ** 2).sum())(view.x)[1]",
             lambda x: 2 * x[:, 1]),
    "value_and_grad": ("def evaluate(view):\n    value, slope = jax.value_and_grad(jnp.sin)(view.x[0])\n"
                       "    return value + slope", lambda x: np.sin(x[:, 0]) + np.cos(x[:, 0])),
    "grad_of_a_loop": ("def evaluate(view):\n    f = lambda x: lax.fori_loop(0, 3, lambda i, c: c * x, x)\n"
                       "    return jax.grad(f)(view.x[0])", lambda x: 4 * x[:, 0] ** 3),
    "hessian": ("def evaluate(view): return jax.hessian(lambda x: (x ** 3).sum())(view.x)[2, 2]",
                lambda x: 6 * x[:, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", USUAL)
def test_usual_code_is_allowed(sandbox, name):
    source, expected = USUAL[name]
    report = one(sandbox, source, EXAMPLES)
    assert report.verdict is SandboxVerdict.PASS, report.feedback
    np.testing.assert_allclose(jax.vmap(report.function)(EXAMPLES), expected(EXAMPLES.x), atol=1e-5)


def test_work_counts_arithmetic_and_memory(sandbox):
    source = "def evaluate(view):\n    m = view.x[0] * jnp.eye({n})\n    return (m @ m).sum()"
    small, large = (one(sandbox, source.format(n=n), EXAMPLES) for n in (20, 200))
    assert 20**3 < small.work < 4 * 20**3
    assert 200**3 < large.work < 2 * 200**3
    assert 4 * 2 * 200**2 <= large.memory_bytes < 4 * 5 * 200**2


def test_the_same_source_gives_the_same_bytes_and_loads_again(sandbox, function, states):
    import inspect

    request = ExportRequest(inspect.getsource(bench.evaluate), "evaluate", states)
    again = export_functions(sandbox, [request])[0]
    assert again.function.serialized == function.serialized
    loaded = check_functions(sandbox, [(request, function.auxiliary, function.serialized)])[0]
    np.testing.assert_array_equal(loaded.function.call(states), function.call(states))


LOOP = "def evaluate(view):\n    return lax.fori_loop(0, {n}, lambda i, c: c + view.x[0], 0.0)"
BAD = {
    "syntax": ("def evaluate(view: return 0", ERROR, r"SyntaxError at line 1, 'def evaluate\(view: return 0'"),
    "no_function": ("def other(view): return 0.0", REFUSED, "no function named evaluate"),
    "not_a_function": ("evaluate = 3", REFUSED, "no function named evaluate"),
    "import_os": ("import os\ndef evaluate(view): return 0.0", REFUSED, "line 1: import os"),
    "import_inside": ("def evaluate(view):\n    import os\n    return 0.0", REFUSED, "line 2: import os"),
    "import_functools": ("import functools\ndef evaluate(view): return 0.0", REFUSED, "functools: only jax"),
    "math_other": ("import math\ndef evaluate(view): return math.sumprod([], [])", REFUSED, "math.sumprod is not"),
    "import_numpy": ("import numpy as np\ndef evaluate(view): return 0.0", REFUSED, "import numpy"),
    "import_jax_part": ("from jax.experimental import io_callback", REFUSED, "io_callback"),
    "import_star": ("from jax.numpy import *", REFUSED, r"import \*"),
    "dunder_import": ("def evaluate(view): return __import__('os').getpid()", REFUSED, "name __import__"),
    "builtins": ("def evaluate(view): return __builtins__['open']('x')", REFUSED, "name __builtins__"),
    "open": ("def evaluate(view): return open('/etc/passwd').read()", REFUSED, "name open"),
    "eval": ("def evaluate(view): return eval('1.0')", REFUSED, "name eval"),
    "getattr": ("def evaluate(view): return getattr(view, 'x')", REFUSED, "name getattr"),
    "dunder_walk": ("def evaluate(view): return ().__class__.__base__", REFUSED, "attribute .__class__"),
    "function_globals": ("def evaluate(view): return jnp.sum.__globals__", REFUSED, "attribute .__globals__"),
    "format_string": ("def evaluate(view): return '{0.__class__}'.format(view)", REFUSED, "attribute .format"),
    "private": ("def evaluate(view): return view._replace(x=1.0).x", REFUSED, "attribute ._replace"),
    "jax_inside": ("def evaluate(view): return jax._src.core", REFUSED, "jax._src"),
    "save": ("def evaluate(view): return jnp.save('/tmp/x', view.x)", REFUSED, "jax.numpy.save"),
    "host_callback": ("def evaluate(view): return jax.pure_callback(lambda: 1.0, 1.0)", REFUSED, "jax.pure_callback"),
    "debug_print": ("def evaluate(view):\n    jax.debug.print('x')\n    return 0.0", REFUSED, "jax.debug"),
    "ffi": ("def evaluate(view): return jax.ffi.ffi_call('x', view.x)()", REFUSED, "jax.ffi"),
    "decorator": ("@print\ndef evaluate(view): return 0.0", REFUSED, "name print|decorator"),
    "class": ("class A: pass\ndef evaluate(view): return 0.0", REFUSED, "ClassDef is not allowed"),
    "try": ("def evaluate(view):\n    try: return 0.0\n    finally: pass", REFUSED, "Try is not allowed"),
    "global": ("def evaluate(view):\n    global k\n    k = 1\n    return 0.0", REFUSED, "Global is not allowed"),
    "unknown_field": ("def evaluate(view): return view.secret", REFUSED, "attribute .secret"),
    "too_long": ("def evaluate(view):\n    return 0.0\n" + "#" * 30_000, REFUSED, "20000 are allowed"),
    "nested": ("def evaluate(view):\n    return " + "+".join(["1.0"] * 4000), REFUSED, "too deeply"),
    "too_large": ("def evaluate(view):\n    return sum([" + "1.," * 5100 + "])", REFUSED, "too large"),
    "deep": ("def evaluate(view):\n    return " + "(" * 5000 + "1.0" + ")" * 5000, ERROR, "SyntaxError"),
    "nan": ("def evaluate(view): return jnp.log(view.x[0])", WRONG, "the value is not finite on example state 0"),
    "nan_later": ("def evaluate(view): return 1.0 / (view.inner['n'] - 3)", WRONG, "not finite on example state 3"),
    "nan_auxiliary": ("def evaluate(view): return 0.0, {'odd': jnp.inf * view.x[0]}", WRONG, "auxiliary value odd"),
    "shape": ("def evaluate(view): return view.x", WRONG, r"must be float32\[\], got float32\[3\]"),
    "dtype": ("def evaluate(view): return view.inner['n']", WRONG, r"must be float32\[\], got int32\[\]"),
    "boolean": ("def evaluate(view): return view.x[0] > 0", WRONG, r"got bool\[\]"),
    "nothing": ("def evaluate(view): pass", WRONG, r"must be float32\[\], got a NoneType"),
    "text": ("def evaluate(view): return 'high'", WRONG, r"must be float32\[\], got a str"),
    "auxiliary_shape": ("def evaluate(view): return 0.0, {'v': view.x}", WRONG, "auxiliary value v must be one number"),
    "auxiliary_name": ("def evaluate(view): return 0.0, {'a b': 1.0}", WRONG, "plain names"),
    "auxiliary_flood": ("def evaluate(view): return 0.0, {'a' + str(i): 1.0 for i in range(99)}", WRONG, "at most 32"),
    "control_flow": ("def evaluate(view):\n    if view.x[0] > 0:\n        return 1.0\n    return 0.0", ERROR,
                     r"TracerBoolConversionError at line 2, 'if view.x\[0\] > 0:'"),
    "data_length": ("def evaluate(view): return jnp.sum(view.x[: view.inner['n']])", ERROR, "at line 1"),
    "mismatch": ("def evaluate(view):\n    return view.x @ jnp.ones(4)", ERROR, "TypeError at line 2.*dot"),
    "raises": ("def evaluate(view):\n    raise ValueError('tired')", ERROR, "ValueError at line 2.*tired"),
    "assertion": ("def evaluate(view):\n    assert False, 'no'", ERROR, "AssertionError at line 2.*no"),
    "recursion": ("def evaluate(view): return evaluate(view)", ERROR, "RecursionError"),
    "while_loop": ("def evaluate(view): return lax.while_loop(lambda c: c < 9, abs, 0.0)", REFUSED, "while_loop"),
    "data_dependent_loop": (LOOP.format(n="view.inner['n']"), REFUSED, "while is not allowed"),
    "long_loop": (LOOP.format(n=10**8), REFUSED, "shorten its loops"),
    "giant_constant": ("def evaluate(view): return jnp.array([0.5] * 20_000).sum()", REFUSED, "20000 elements"),
    "giant_tensor": ("def evaluate(view): return jnp.ones((9000, 9000)).sum()", REFUSED, "81000000 elements"),
    "giant_product": ("def evaluate(view):\n    m = view.x[0] * jnp.eye(1024)\n    return (m @ m).sum()", REFUSED,
                      "67108864|16 MiB"),
    "products_in_a_loop": ("def evaluate(view):\n    m = view.x[0] * jnp.eye(100)\n"
                           "    return lax.fori_loop(0, 100, lambda i, c: c @ m, m).sum()", REFUSED, "shorten its"),
    "wide_window": ("def evaluate(view):\n    return jnp.cumsum(view.x[0] * jnp.arange(2e4))[-1]", REFUSED, "67108864"),
    "much_alive": ("def evaluate(view):\n    parts = [view.x[0] * jnp.arange(5e5) + i for i in range(12)]\n"
                   "    first = sum(p.sum() for p in parts)\n    return first + sum((p * first).sum() for p in parts)",
                   REFUSED, "needs more than 16 MiB at a time"),
    "memory_bomb": ("def evaluate(view):\n    return [0.0] * 10**11", SandboxVerdict.MEMORY, "more memory"),
    "endless_trace": ("def evaluate(view):\n    while True:\n        pass", SandboxVerdict.TIMEOUT, "more than 1 s"),
    "endless_module": ("while True:\n    pass", SandboxVerdict.TIMEOUT, "more than 1 s"),
    "unrolled": ("def evaluate(view):\n    c = view.x[0]\n    for i in range(10**7): c = c * 0.5\n    return c",
                 SandboxVerdict.TIMEOUT, "more than 1 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_a_verdict_with_a_line_for_the_writer(sandbox, name):
    source, verdict, message = BAD[name]
    report = one(sandbox, source, EXAMPLES, seconds=1.0 if verdict is SandboxVerdict.TIMEOUT else 30.0)
    assert report.function is None
    assert report.verdict is verdict, report
    import re

    assert re.search(message, report.feedback), report.feedback
    assert "\n" not in report.feedback
    assert len(report.feedback) < 500
    assert not re.search(r"/(home|root|work|python|site\d|usr)/", report.feedback), report.feedback


@pytest.mark.parametrize("level", ["bwrap", "unshare"])
def test_every_level_exports_and_one_bad_function_does_not_disturb_the_others(level):
    sources = ["def evaluate(view): return view.x[0]", "import os", "def evaluate(view): return view.x[1]"]
    sources += [BAD["endless_trace"][0], BAD["memory_bomb"][0]]
    try:
        sandbox = Sandbox(EXPORT, workers=2, levels=(level,))
    except UserError as error:
        pytest.skip(str(error))
    requests = [ExportRequest(source, "evaluate", EXAMPLES) for source in sources]
    with sandbox:
        reports = export_functions(sandbox, requests, dataclasses.replace(EXPORT_LIMITS, seconds=5.0))
    verdicts = [report.verdict for report in reports]
    assert verdicts == [
        SandboxVerdict.PASS,
        REFUSED,
        SandboxVerdict.PASS,
        SandboxVerdict.TIMEOUT,
        SandboxVerdict.MEMORY,
    ]
    np.testing.assert_array_equal(reports[2].function.call(EXAMPLES), EXAMPLES.x[:, 1])


def serialized(function, *rows, platforms=("cpu",), vjp_order=0, batch="b"):
    """What a process whose tracing was subverted might send."""
    (size,) = jax_export.symbolic_shape(batch)
    structs = [jax.ShapeDtypeStruct((size, *shape), dtype) for shape, dtype in rows]
    return bytes(jax_export.export(jax.jit(function), platforms=platforms)(*structs).serialize(vjp_order))


ROW = ((3,), jnp.float32)


def custom_call(name, honest=False):
    """A module that calls native code, by the name of XLA's own host callback for instance."""
    (size,) = jax_export.symbolic_shape("b")
    call = jax.jit(lambda x: (jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(x.shape[:1], jnp.float32))(x),))
    unchecked = [jax_export.DisabledSafetyCheck.custom_call(name)]
    made = jax_export.export(call, platforms=("cpu",), disabled_checks=unchecked)(
        jax.ShapeDtypeStruct((size, 3), "float32")
    )
    return bytes((made if honest else dataclasses.replace(made, disabled_safety_checks=())).serialize())


def loop(limit):
    def function(x):
        body = lambda c: (c[0] + 1, c[1] + x[:, 0])  # noqa: E731
        return (jax.lax.while_loop(lambda c: c[0] < limit(x), body, (0, x[:, 0]))[1],)

    return function


def double_step(x):
    return (jax.lax.while_loop(lambda c: c[0] != 7, lambda c: (c[0] + 2, c[1] + x[:, 0]), (0, x[:, 0]))[1],)


HOSTILE = {
    "custom_call": (lambda: custom_call("some_native_code"), "custom call some_native_code is not allowed"),
    "host_callback": (lambda: custom_call("xla_ffi_python_cpu_callback"), "custom call xla_ffi_python_cpu_callback"),
    "unchecked": (lambda: custom_call("some_native_code", honest=True), "other safety checks"),
    "endless_loop": (lambda: serialized(loop(lambda x: jnp.int32(x[0, 0])), ROW), "depends on data"),
    "never_equal": (lambda: serialized(double_step, ROW), "depends on data"),
    "long_loop": (lambda: serialized(loop(lambda x: 10**9), ROW), "shorten its loops"),
    "giant_tensor": (lambda: serialized(lambda x: (x[:, 0] + jnp.ones((3000, 3000)).sum(),), ROW), "9000000 elements"),
    "convolution": (lambda: serialized(lambda x: (jax.lax.conv(
        jnp.broadcast_to(x[:, :1, None, None], (x.shape[0], 64, 32, 32)), jnp.ones((64, 64, 7, 7)), (1, 1), "SAME"
    ).sum((1, 2, 3)),), ROW), "computes more than"),
    "giant_constant": (lambda: serialized(lambda x: (x[:, 0] + np.arange(2e4, dtype="f").sum() + jnp.asarray(
        np.arange(20_000, dtype=np.float32)).sum(),), ROW), "constant has 20000"),
    "batch_squared": (lambda: serialized(lambda x: ((x @ x.T).sum(1),), ROW), "tensor of"),
    "other_shape": (lambda: serialized(lambda x: (x[:, 0],), ((4,), jnp.float32)), "other arguments"),
    "other_dtype": (lambda: serialized(lambda x: (x[:, 0] * 1.0,), ((3,), jnp.int32)), "other arguments"),
    "other_result": (lambda: serialized(lambda x: (x,), ROW), "other results"),
    "other_structure": (lambda: serialized(lambda x: {"a": x[:, 0]}, ROW), "other results"),
    "more_arguments": (lambda: serialized(lambda x, y: (x[:, 0],), ROW, ROW), "other arguments"),
    "fixed_batch": (lambda: serialized(lambda x: (x[:, 0],), ROW, batch="320,")[:], "other arguments|size"),
    "multiple_of_batch": (lambda: serialized(lambda x: (x[:, 0],), ROW, batch="2*b"), "other arguments"),
    "other_platform": (lambda: serialized(lambda x: (x[:, 0],), ROW, platforms=("cuda",)), "other platforms"),
    "derivative": (lambda: serialized(lambda x: (x[:, 0],), ROW, vjp_order=1), "other derivative"),
    "empty": (lambda: b"", ""),
    "zeros": (lambda: bytes(5000), ""),
    "text": (lambda: b"not a function" * 100, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused(sandbox, name):
    import re

    make, message = HOSTILE[name]
    request = ExportRequest("", "evaluate", EXAMPLES.x, platforms=("cpu",))
    report = check_functions(sandbox, [(request, (), make())])[0]
    assert report.function is None
    assert report.verdict in (REFUSED, ERROR, SandboxVerdict.CRASH), report
    assert re.search(message, report.feedback), report.feedback


def test_the_check_knows_a_good_function_when_it_sees_one(sandbox):
    """The same way of making bytes, with nothing wrong: what the hostile ones are refused for is what is wrong."""
    request = ExportRequest("", "evaluate", EXAMPLES.x, platforms=("cpu",))
    report = check_functions(sandbox, [(request, (), serialized(loop(lambda x: 10), ROW))])[0]
    assert report.verdict is SandboxVerdict.PASS, report.feedback
    np.testing.assert_allclose(report.function.call(EXAMPLES.x), 11 * EXAMPLES.x[:, 0], rtol=1e-6)


def test_bytes_with_errors_in_them_never_harm_this_process(sandbox):
    good = serialized(lambda x: (jnp.sum(x, axis=1),), ROW)
    rng = np.random.default_rng(0)
    request = ExportRequest("", "evaluate", EXAMPLES.x, platforms=("cpu",))
    variants = [good[:size] for size in rng.integers(0, len(good), 8)]
    for _ in range(24):
        data = bytearray(good)
        for place in rng.integers(0, len(good), 1 + rng.integers(8)):
            data[place] = rng.integers(256)
        variants.append(bytes(data))
    reports = check_functions(sandbox, [(request, (), data) for data in variants])
    assert all(report.verdict is not SandboxVerdict.UNAVAILABLE for report in reports)
    assert sum(report.function is None for report in reports) > 8
    for report in reports:  # an error in a name or a constant leaves a function, still a harmless one
        if report.function is not None:
            assert report.function.call(EXAMPLES.x).shape == (5,)


def test_compilation_has_a_time_limit(sandbox, function, states):
    request = ExportRequest("", "evaluate", states)
    limits = dataclasses.replace(EXPORT_LIMITS, seconds=0.02)
    report = check_functions(sandbox, [(request, (), function.serialized)], limits)[0]
    assert report.verdict is SandboxVerdict.TIMEOUT
    assert report.function is None


def test_requests_are_checked():
    with pytest.raises(UserError, match="same number of rows"):
        ExportRequest("", "f", {"a": np.zeros(3), "b": np.zeros(4)})
    with pytest.raises(UserError, match="same number of rows"):
        ExportRequest("", "f", np.zeros((0, 3)))
    with pytest.raises(UserError, match="random keys"):
        ExportRequest("", "f", jax.random.split(jax.random.key(0), 3))
    with pytest.raises(UserError, match="platforms must be of"):
        ExportRequest("", "f", np.zeros(3), platforms=("gpu",))


def test_a_worker_has_one_thread_when_it_forks():
    with Sandbox(EXPORT, workers=1, levels=(), allow_unsandboxed=True) as bare:
        assert bare._workers[0].facts["threads"] == 1
        with pytest.warns(UserWarning, match="without a sandbox"):
            report = export_functions(bare, [ExportRequest("def evaluate(x): return x[0]", "evaluate", EXAMPLES.x)])[0]
    assert report.verdict is SandboxVerdict.PASS, report.feedback


def test_values_that_are_not_finite_are_found_in_the_right_row(sandbox):
    x = np.ones((3, 2), np.float32)
    x[2, 1] = math.inf
    report = one(sandbox, "def evaluate(x): return x.sum()", x)
    assert (report.verdict, report.feedback) == (WRONG, "the value is not finite on example state 2")
