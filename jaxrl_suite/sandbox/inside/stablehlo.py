"""Checks that an exported function is what it should be, by its signature and by every operation in its module.

Used in a clean process of the sandbox first and in the parent then, so that nothing that could not come out of a pure
array function of bounded size and length is ever compiled outside: no custom call, no transfer, no collective, no
effect, no loop without a fixed number of turns, no tensor above a size, no more work and memory for a row than allowed.

Costs are those of one row of the batch, arithmetic and bytes that are alive, read off the types, roughly: what XLA
fuses never lies in memory, and costs the same arithmetic.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import jax
from jax import export
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo

from .allowed import RefusedError, words

MAX_ELEMENTS = 1 << 20  # elements of one tensor for one row of the batch
WHOLE = words("reduce sort custom_call scatter gather")  # operations that go through what they are given, too


class RowCost(NamedTuple):
    """The cost of a computation for one row."""

    work: int = 0  # elements computed, and multiplications of products and windows
    memory_bytes: int = 0  # of tensors that are alive at a time


def elements(kind: Any, name: str) -> int:
    """Elements of a tensor for one row.

    Raises:
      RefusedError: if they are too many, or grow with the square of the batch.
    """
    shaped = ir.ShapedType(kind)
    dynamic = sum(shaped.is_dynamic_dim(i) for i in range(shaped.rank))
    size = _product(shaped, range(shaped.rank))
    if dynamic > 1 or size > MAX_ELEMENTS:
        raise RefusedError(f"{name} makes a tensor of {size} elements for one state, and {MAX_ELEMENTS} are allowed")
    return size


def size_bytes(values: Any, name: str) -> int:
    """Bytes of some tensors for one row."""
    return sum(elements(value.type, name) * _width(value.type) for value in values)


def work_of(op: Any) -> int:
    """Elements that an operation computes or goes through, or the multiplications behind them if those are more."""
    name, short = op.name, op.name.partition(".")[2]
    made = sum(elements(result.type, name) for result in op.results)
    if short == "dot_general":
        numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
        return made * _product(ir.ShapedType(op.operands[0].type), numbers.lhs_contracting_dimensions)
    if short == "dot":
        shaped = ir.ShapedType(op.operands[0].type)
        return made * _product(shaped, [shaped.rank - 1])
    if short == "convolution":
        kernel = ir.ShapedType(op.operands[1].type)
        feature = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"]).kernel_output_feature_dimension
        return made * _product(kernel, [i for i in range(kernel.rank) if i != feature])
    if short == "reduce_window":
        return made * math.prod(ir.DenseI64ArrayAttr(op.attributes["window_dimensions"]))
    if short in WHOLE:
        given = sum(elements(operand.type, name) for operand in op.operands)
        return max(made, given) * (max(made, 2).bit_length() if short == "sort" else 1)
    return made


def _product(shaped: Any, dimensions: Any) -> int:
    return math.prod(shaped.get_dim_size(i) for i in dimensions if not shaped.is_dynamic_dim(i))


def _width(kind: Any) -> int:
    """Bytes of one element."""
    text = str(ir.ShapedType(kind).element_type)
    bits = re.search(r"\d+", text)
    return (2 if "complex" in text else 1) * max(1, int(bits[0]) // 8 if bits else 8)


MAX_BYTES = 1 << 20  # of a serialised function
MAX_CONSTANT = 1 << 14  # elements of one constant
MAX_WORK = 1 << 26  # elements computed for one row, loops counted by their turns and products by their multiplications
MAX_MEMORY = 1 << 24  # bytes alive at a time for one row
MAX_OPERATIONS = 20_000
EACH = ("map", "reduce", "reduce_window", "scatter", "sort")  # run their region for each element
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


def verify(exported: export.Exported, inputs: list[Leaf], outputs: list[Leaf], platforms: tuple[str, ...]) -> RowCost:
    """Checks an exported function of a flat tuple of arrays [b, ...] to a flat tuple of arrays [b, ...].

    Returns:
      Its cost for one row, roughly.

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
    return _Module(exported).cost


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
            self.cost = self.of_function("main", ())

    def of_function(self, name: str, callers: tuple[str, ...]) -> RowCost:
        if name in callers or name not in self.functions:
            raise RefusedError(f"the exported function calls {name} without end")
        if name not in self.done:
            self.done[name] = self.of_regions(self.functions[name].operation, (*callers, name))
        return self.done[name]

    def of_regions(self, operation: Any, callers: tuple[str, ...]) -> RowCost:
        parts = [self.of_block(block, callers) for region in operation.regions for block in region.blocks]
        total = max if operation.name in ("stablehlo.case", "stablehlo.if") else sum  # of which one runs
        return RowCost(
            total([part.work for part in parts] or [0]), max((part.memory_bytes for part in parts), default=0)
        )

    def of_block(self, block: Any, callers: tuple[str, ...]) -> RowCost:
        """The cost of a block, in which a tensor is alive from where it is made to where it is used last."""
        operations = [inner.operation for inner in block.operations]
        places = {operation: place for place, operation in enumerate(operations)}
        work, alive, most, freed = 0, 0, 0, [0] * len(operations)
        for place, operation in enumerate(operations):
            cost = self.of_operation(operation, callers)
            work += cost.work
            if work > MAX_WORK:
                raise _too_long()
            made = size_bytes(operation.results, operation.name)
            alive += made
            most = max(most, alive + cost.memory_bytes)
            last = max(
                (_place(use.owner, places) for result in operation.results for use in result.uses), default=place
            )
            freed[last] += made
            alive -= freed[place]
            if most > MAX_MEMORY:
                raise RefusedError(f"the function needs more than {MAX_MEMORY >> 20} MiB at a time for one state")
        return RowCost(work, most)

    def of_operation(self, op: Any, callers: tuple[str, ...]) -> RowCost:
        """The cost of an operation beside its results, which the block counts."""
        self.count += 1
        if self.count > MAX_OPERATIONS:
            raise RefusedError(f"the function has more than {MAX_OPERATIONS} operations: unroll less")
        dialect, _, short = op.name.partition(".")
        if dialect not in ("func", "builtin") and (dialect != "stablehlo" or short not in OPERATIONS):
            raise RefusedError(f"the exported function uses {op.name}, which is not allowed")
        if op.name == "stablehlo.custom_call" and op.attributes["call_target_name"].value not in CALLS:
            raise RefusedError(f"the custom call {op.attributes['call_target_name'].value} is not allowed")
        work = work_of(op)
        if op.name == "stablehlo.constant" and work > MAX_CONSTANT:
            raise RefusedError(f"a constant has {work} elements, and {MAX_CONSTANT} are allowed")
        inner = self.of_regions(op, callers)
        if short in EACH:
            work *= max(1, inner.work)
        else:
            work += (_turns(op) if short == "while" else 1) * inner.work
        called = {"func.call": "callee", "stablehlo.composite": "decomposition"}.get(op.name)
        if called is not None:
            callee = self.of_function(op.attributes[called].value, callers)
            work, inner = work + callee.work, callee
        if work > MAX_WORK:
            raise _too_long()
        return RowCost(work, inner.memory_bytes)


def _too_long() -> RefusedError:
    return RefusedError(f"the function computes more than {MAX_WORK} elements for one state: shorten its loops")


def _place(owner: Any, places: dict[Any, int]) -> int:
    """The place in a block of the operation that a use lies in."""
    operation = getattr(owner, "operation", owner)
    while operation not in places:
        operation = operation.parent
        operation = getattr(operation, "operation", operation)
    return places[operation]


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
