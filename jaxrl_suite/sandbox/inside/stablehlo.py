"""Checks that an exported function is what it should be, by its signature and by every operation in its module.

Used in a clean process of the sandbox first and in the parent then, so that nothing that could not come out of a pure
array function of bounded size and length is ever compiled outside: no custom call, no transfer, no collective, no
effect, no loop without a fixed number of turns, no tensor above a size.
"""

from __future__ import annotations

import math
from typing import Any

import jax
from jax import export
from jax.extend.mlir import ir

from .allowed import RefusedError, words

MAX_BYTES = 1 << 20  # of a serialised function
MAX_CONSTANT = 1 << 14  # elements of one constant
MAX_ELEMENTS = 1 << 20  # elements of one tensor for one row of the batch
MAX_WORK = 1 << 26  # elements computed for one row, loops counted by their turns
MAX_OPERATIONS = 20_000
CALLS = ("shape_assertion", "mhlo.topk")  # custom calls that are pure
OPERATIONS = words("""
abs add and atan2 bitcast_convert broadcast broadcast_in_dim case cbrt ceil clamp compare composite concatenate
constant convert convolution cosine count_leading_zeros custom_call divide dot dot_general dynamic_broadcast_in_dim
dynamic_gather dynamic_iota dynamic_pad dynamic_reshape dynamic_slice dynamic_update_slice exponential
exponential_minus_one floor gather get_dimension_size if iota is_finite log log_plus_one logistic map maximum minimum
multiply negate not optimization_barrier or pad popcnt power real_dynamic_slice reduce reduce_precision reduce_window
remainder reshape return reverse round_nearest_afz round_nearest_even rsqrt scatter select shift_left
shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract tan tanh transpose while xor
""")

Leaf = tuple[tuple[int, ...], str]  # shape of one row, dtype


def verify(exported: export.Exported, inputs: list[Leaf], outputs: list[Leaf], platforms: tuple[str, ...]) -> int:
    """Checks an exported function of a flat tuple of arrays [b, ...] to a flat tuple of arrays [b, ...].

    Returns:
      Elements computed for one row, roughly.

    Raises:
      RefusedError: for the first thing that is not as it should be.
    """
    low, high = export.minimum_supported_calling_convention_version, export.maximum_supported_calling_convention_version
    good = {
        "devices": exported.nr_devices == 1,
        "effects": not (exported.ordered_effects or exported.unordered_effects),
        "safety checks": not exported.disabled_safety_checks,
        "platforms": tuple(exported.platforms) == platforms,
        "version": low <= exported.calling_convention_version <= high,
        "arguments": _leaves(exported.in_avals) == inputs
        and exported.in_tree == jax.tree.structure(((0,) * len(inputs), {})),
        "results": _leaves(exported.out_avals) == outputs
        and exported.out_tree == jax.tree.structure((0,) * len(outputs)),
        "derivative": not exported.has_vjp(),
        "size": len(exported.mlir_module_serialized) <= MAX_BYTES,
    }
    for what, fine in good.items():
        if not fine:
            raise RefusedError(f"the exported function has other {what} than asked for")
    return _Module(exported).work


def _leaves(avals: tuple[Any, ...]) -> list[Leaf] | None:
    """Shapes of one row; None unless all have the same symbolic batch size in front, and nothing else symbolic."""
    batches = {str(aval.shape[0]) if aval.shape and not isinstance(aval.shape[0], int) else "" for aval in avals}
    if batches != {"b"} or any(not isinstance(size, int) for aval in avals for size in aval.shape[1:]):
        return None
    return [(tuple(aval.shape[1:]), str(aval.dtype)) for aval in avals]


class _Module:
    """A walk over a module that refuses what it does not know."""

    def __init__(self, exported: export.Exported):
        self.count, self.done = 0, {}
        some_module: Any = jax.jit(lambda: 0).lower().compiler_ir("stablehlo")
        with some_module.context:  # which knows the dialects
            module: Any = exported.mlir_module(serialized=False)  # pyright: ignore[reportAssignmentType]
            self.functions = {op.attributes["sym_name"].value: op for op in module.body.operations}
            self.work = self.of_function("main", ())

    def of_function(self, name: str, callers: tuple[str, ...]) -> int:
        if name in callers or name not in self.functions:
            raise RefusedError(f"the exported function calls {name} without end")
        if name not in self.done:
            self.done[name] = self.of_regions(self.functions[name].operation, (*callers, name))
        return self.done[name]

    def of_regions(self, operation: Any, callers: tuple[str, ...]) -> int:
        return sum(
            self.of_operation(inner.operation, callers)
            for region in operation.regions
            for block in region.blocks
            for inner in block.operations
        )

    def of_operation(self, op: Any, callers: tuple[str, ...]) -> int:
        self.count += 1
        if self.count > MAX_OPERATIONS:
            raise RefusedError(f"the function has more than {MAX_OPERATIONS} operations: unroll less")
        dialect, _, short = op.name.partition(".")
        if dialect not in ("func", "builtin") and (dialect != "stablehlo" or short not in OPERATIONS):
            raise RefusedError(f"the exported function uses {op.name}, which is not allowed")
        work = sum(_elements(result.type, op.name) for result in op.results)
        if op.name == "stablehlo.custom_call" and op.attributes["call_target_name"].value not in CALLS:
            raise RefusedError(f"the custom call {op.attributes['call_target_name'].value} is not allowed")
        if op.name == "stablehlo.constant" and work > MAX_CONSTANT:
            raise RefusedError(f"a constant has {work} elements, and {MAX_CONSTANT} are allowed")
        if op.name == "func.call":
            work += self.of_function(op.attributes["callee"].value, callers)
        if op.name == "stablehlo.composite":
            work += self.of_function(op.attributes["decomposition"].value, callers)
        turns = _turns(op) if op.name == "stablehlo.while" else 1
        work += turns * self.of_regions(op, callers)
        if work > MAX_WORK:
            raise RefusedError(f"the function computes more than {MAX_WORK} elements for one state: shorten its loops")
        return work


def _elements(kind: Any, name: str) -> int:
    """Elements of a result for one row."""
    shaped = ir.ShapedType(kind)
    dynamic = sum(shaped.is_dynamic_dim(i) for i in range(shaped.rank))
    size = math.prod(shaped.get_dim_size(i) for i in range(shaped.rank) if not shaped.is_dynamic_dim(i))
    if dynamic > 1 or size > MAX_ELEMENTS:
        raise RefusedError(f"{name} makes a tensor of {size} elements for one state, and {MAX_ELEMENTS} are allowed")
    return size


def _turns(op: Any) -> int:
    """Turns of a loop that counts from 0 in steps of 1 up to a constant, as `scan` and `fori_loop` make it."""
    condition, body = (region.blocks[0] for region in op.regions)
    refusal = RefusedError("a loop whose length depends on data is not allowed: use lax.scan or a fixed fori_loop")
    compare, end = (x.operation for x in list(condition.operations)[-2:])
    last = list(body.operations)[-1].operation
    try:
        index = list(condition.arguments).index(compare.operands[0])
        step = last.operands[index].owner
        step = getattr(step, "operation", step)
        good = (
            compare.name == "stablehlo.compare"
            and "LT" in str(compare.attributes["comparison_direction"])
            and end.operands[0] == compare.results[0]
            and step.name == "stablehlo.add"
            and step.operands[0] == body.arguments[index]
            and _constant(step.operands[1]) == 1
            and _constant(op.operands[index]) == 0
        )
        limit = _constant(compare.operands[1])
    except (ValueError, AttributeError, IndexError, TypeError):
        raise refusal from None
    if not good:
        raise refusal
    return limit


def _constant(value: Any) -> int:
    """The integer that a value always is.

    Raises:
      ValueError: if it may be another.
    """
    owner = getattr(value.owner, "operation", value.owner)
    if owner.name != "stablehlo.constant":
        raise ValueError("not a constant")
    dense = ir.DenseIntElementsAttr(owner.attributes["value"])
    return int(dense[0])
