"""The part of Python and JAX that a written array function may use, checked on its syntax tree.

This keeps the contract clear and the messages useful; it is not the wall, the sandbox is. Names of JAX are bound to
folders that hold the listed functions alone, so that what a check of the syntax could miss is not there either.
"""

from __future__ import annotations

import ast
import builtins
import math
import types
from collections.abc import Collection
from typing import Any


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MAX_SOURCE, MAX_NODES = 20_000, 5_000

JNP = words("""
abs absolute add all allclose any append arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
argpartition argsort argwhere around array array_equal asarray astype atleast_1d atleast_2d average bincount
bitwise_and bitwise_count bitwise_not bitwise_or bitwise_xor block bool_ broadcast_arrays broadcast_to cbrt ceil choose
clip column_stack compress concat concatenate copysign corrcoef cos cosh count_nonzero cov cross cumprod cumsum deg2rad
diag diagonal diff digitize divide divmod dot dtype e einsum equal euler_gamma exp exp2 expand_dims expm1 eye fabs
finfo flip fliplr flipud float16 float32 float64 bfloat16 float_power floor floor_divide fmax fmin fmod full full_like
gcd geomspace gradient greater greater_equal heaviside histogram hsplit hstack hypot identity iinfo indices inf inner
int8 int16 int32 int64 interp invert isclose isfinite isin isinf isnan issubdtype ix_ kron lcm ldexp left_shift less
less_equal linspace log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logspace
matmul matrix_transpose max maximum mean median meshgrid min minimum mod moveaxis multiply nan nan_to_num nanargmax
nanargmin nanmax nanmean nanmin nansum ndarray ndim negative newaxis nonzero not_equal ones ones_like outer pad
partition percentile permute_dims pi piecewise polyval positive pow power prod promote_types ptp quantile rad2deg ravel
reciprocal remainder repeat reshape result_type right_shift rint roll rollaxis rot90 round searchsorted select shape
sign signbit sin sinc sinh size sort split sqrt square squeeze stack std subtract sum swapaxes take take_along_axis tan
tanh tensordot tile trace transpose trapezoid tri tril trunc triu uint8 uint16 uint32 uint64 unravel_index unstack
unwrap vander var vdot vsplit vstack where zeros zeros_like
""")
LAX = words("""
abs add argmax argmin associative_scan bitcast_convert_type bitwise_and bitwise_not bitwise_or bitwise_xor
broadcast_in_dim ceil clamp concatenate cond convert_element_type cummax cummin cumprod cumsum cumlogsumexp div dot
dot_general dynamic_index_in_dim dynamic_slice dynamic_slice_in_dim dynamic_update_index_in_dim dynamic_update_slice
eq erf erfc exp expm1 expand_dims floor fori_loop full ge gt integer_pow iota is_finite le log log1p logistic lt map
max min mul ne neg pad population_count pow reduce reduce_max reduce_min reduce_sum rem reshape rev round rsqrt scan
select select_n shift_left shift_right_arithmetic shift_right_logical sign sin slice slice_in_dim sort sort_key_val
sqrt square squeeze stop_gradient sub switch tanh top_k transpose
""")
NN = words("""
celu elu gelu glu hard_sigmoid hard_swish hard_tanh leaky_relu log_sigmoid log_softmax logsumexp mish one_hot relu
relu6 selu sigmoid silu soft_sign softmax softplus sparse_plus squareplus standardize swish tanh
""")
JAX = words("jit vmap grad value_and_grad jacfwd jacrev hessian Array")
MATH = words("""
acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh dist e erf erfc exp expm1 fabs factorial floor fmod
fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 nan perm pi pow prod
radians sin sinh sqrt tan tanh tau trunc
""")
METHODS = words("""
all any argmax argmin argsort astype at clip copy cumprod cumsum diagonal dot dtype flatten item max mean min ndim
prod ravel repeat reshape round shape size sort squeeze std sum swapaxes take T trace transpose var add apply divide
get mul multiply power set subtract append count extend index insert items keys pop remove reverse update values eps
tiny bits
""")
BUILTINS = words("""
abs all any bool dict divmod enumerate float int isinstance len list map max min pow range reversed round set slice
sorted str sum tuple zip True False None ValueError TypeError
""")
IMPORTS = {
    "math": ["math"],
    "jax": ["jax"],
    "jax.numpy": ["jax", "numpy"],
    "jax.lax": ["jax", "lax"],
    "jax.nn": ["jax", "nn"],
}
FOLDERS = {"numpy": JNP, "lax": LAX, "nn": NN}
SUBFOLDERS = {"linalg": ("norm",)}  # of jax.numpy
SYNTAX = words("""
Module FunctionDef arguments arg Return Assign AugAssign AnnAssign For While If Expr Pass Break Continue Assert Raise
BoolOp NamedExpr BinOp UnaryOp Lambda IfExp Dict Set ListComp SetComp DictComp GeneratorExp Compare Call JoinedStr
FormattedValue Constant Attribute Subscript Starred Name List Tuple Slice comprehension keyword Import ImportFrom
alias Load Store Del Delete And Or Add Sub Mult MatMult Div Mod Pow LShift RShift BitOr BitXor BitAnd FloorDiv Invert
Not UAdd USub Eq NotEq Lt LtE Gt GtE Is IsNot In NotIn
""")
NODES = tuple(getattr(ast, name) for name in SYNTAX)


class RefusedError(Exception):
    """Written code asks for what is not allowed; the message is for its writer."""


class ContractError(Exception):
    """A function returns something else than its contract says; the message is for its writer."""


def load(source: str, fields: Collection[str], modules: dict[str, Any]) -> dict[str, Any]:
    """Checks source and runs it; returns its names.

    Args:
      source: defines functions; may import jax, jax.numpy, jax.lax, jax.nn and math.
      fields: attribute names that its argument has.
      modules: `numpy`, `lax`, `nn` and `jax` themselves.

    Raises:
      RefusedError: for anything that is not allowed.
      SyntaxError: if it does not parse.
    """
    if len(source) > MAX_SOURCE:
        raise RefusedError(f"the source has {len(source)} characters, and {MAX_SOURCE} are allowed")
    try:
        tree = ast.parse(source)
    except (RecursionError, MemoryError):
        raise RefusedError("the source is nested too deeply") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise RefusedError(f"the source is too large: more than {MAX_NODES} parts of syntax")
    for node in ast.walk(tree):
        _strip(node)
    names = _imports(tree)
    _check(tree, names, frozenset(fields))
    tree = _WithoutImports().visit(tree)
    names_of_python = (*BUILTINS, "__import__")  # which compiled parts of JAX look up in the caller's names
    space: dict[str, Any] = {"__name__": "program"}
    space["__builtins__"] = {name: getattr(builtins, name) for name in names_of_python}
    roots = {"jax": _folders(modules), "math": _folder(math, MATH)}
    for name, path in names.items():
        value: Any = roots[path[0]]
        for part in path[1:]:
            value = getattr(value, part)
        space[name] = value
    exec(compile(ast.fix_missing_locations(tree), "<program>", "exec", dont_inherit=True), space)
    return space


class _WithoutImports(ast.NodeTransformer):
    """Takes imports out: what they name is there already."""

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)


def _imports(tree: ast.Module) -> dict[str, list[str]]:
    """The names that stand for parts of JAX, and which; the usual ones need no import."""
    names = {"jax": ["jax"], "jnp": ["jax", "numpy"], "lax": ["jax", "lax"], "nn": ["jax", "nn"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "typing":
                    continue
                if alias.name not in IMPORTS:
                    line = f"import {alias.name}: only jax, jax.numpy, jax.lax, jax.nn and math can be imported"
                    raise _refuse(node, line)
                path = IMPORTS[alias.name]
                names[alias.asname or path[0]] = path if alias.asname else path[:1]
        elif isinstance(node, ast.ImportFrom):
            base = IMPORTS.get(node.module or "") if node.level == 0 else None
            for alias in node.names:
                if node.module in ("__future__", "typing"):  # annotations are taken out
                    continue
                if base is None or not _is_allowed([*base, alias.name]):
                    raise _refuse(node, f"from {node.module} import {alias.name}: it is not among what may be used")
                names[alias.asname or alias.name] = [*base, alias.name]
    return names


def _check(tree: ast.Module, names: dict[str, list[str]], fields: frozenset[str]) -> None:
    problems = [(node, problem) for node in ast.walk(tree) if (problem := _problem(node, names, fields))]
    if problems:  # the first to a reader: in open("x").read() it is open
        node, problem = min(problems, key=lambda x: (getattr(x[0], "lineno", 1), getattr(x[0], "end_col_offset", 0)))
        raise _refuse(node, problem)


def _problem(node: ast.AST, names: dict[str, list[str]], fields: frozenset[str]) -> str | None:
    if not isinstance(node, NODES):
        return f"{type(node).__name__} is not allowed: write functions of arrays"
    if isinstance(node, ast.Name):
        hidden = isinstance(node.ctx, ast.Load) and hasattr(builtins, node.id) and node.id not in BUILTINS
        return f"the name {node.id} may not be used" if hidden or node.id.startswith("__") else None
    if isinstance(node, ast.arg) and node.arg.startswith("__"):
        return f"the name {node.arg} may not be used"
    if isinstance(node, ast.FunctionDef):
        if node.name.startswith("__"):
            return f"the name {node.name} may not be used"
        if any(_path(decorator, names) != ["jax", "jit"] for decorator in node.decorator_list):
            return "a decorator other than jax.jit is not allowed"
    if isinstance(node, ast.Attribute):
        path = _path(node, names)
        if path is not None:
            return None if _is_allowed(path) else f"{'.'.join(path)} is not among the functions that may be used"
        if node.attr.startswith("_") or (node.attr not in METHODS and node.attr not in fields):
            return f"the attribute .{node.attr} is neither a field of the argument nor an array method"
    return None


def _path(node: ast.AST, names: dict[str, list[str]]) -> list[str] | None:
    """The parts of a dotted name that starts at a part of JAX and goes as far as folders do; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        base = _path(node.value, names)
        if base is not None and (len(base) == 1 or _is_folder(base) or not _is_allowed(base)):
            return [*base, node.attr]
    return None


def _is_folder(path: list[str]) -> bool:
    return path[-1] in (FOLDERS if len(path) == 2 else SUBFOLDERS)


def _is_allowed(path: list[str]) -> bool:
    if path[0] == "math":
        return len(path) == 2 and path[1] in MATH
    if len(path) == 2:
        return path[1] in JAX or path[1] in FOLDERS
    if len(path) == 3:
        return path[2] in FOLDERS.get(path[1], ()) or (path[1] == "numpy" and path[2] in SUBFOLDERS)
    return len(path) == 4 and path[1] == "numpy" and path[3] in SUBFOLDERS.get(path[2], ())


def _folders(modules: dict[str, Any]) -> types.SimpleNamespace:
    """JAX with the allowed functions alone."""
    root = _folder(modules["jax"], JAX)
    for name, names in FOLDERS.items():
        setattr(root, name, _folder(modules[name], names))
    for name, names in SUBFOLDERS.items():
        setattr(root.numpy, name, _folder(getattr(modules["numpy"], name), names))
    return root


def _folder(module: Any, names: tuple[str, ...]) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: getattr(module, name) for name in names if hasattr(module, name)})


def _strip(node: ast.AST) -> None:
    """Removes annotations: they often name types that are not there."""
    if isinstance(node, ast.arg):
        node.annotation = None
    elif isinstance(node, ast.FunctionDef):
        node.returns = None
    elif isinstance(node, ast.AnnAssign):
        node.annotation = ast.copy_location(ast.Constant(None), node.annotation)


def _refuse(node: ast.AST, what: str) -> RefusedError:
    return RefusedError(f"line {getattr(node, 'lineno', 1)}: {what}")
