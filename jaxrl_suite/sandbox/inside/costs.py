"""The cost of an operation of StableHLO for one row of the batch: arithmetic, and bytes that are alive.

Both are read off the types, roughly: what XLA fuses never lies in memory, and costs the same arithmetic.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

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


def work(op: Any) -> int:
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
