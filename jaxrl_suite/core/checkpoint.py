"""Checkpoints of any pytree, bit for bit; the one module that knows orbax.

A checkpoint is `folder/STEP/`. Orbax writes it under another name and renames it when it is complete, so a process that
is killed leaves either the whole step or none of it. Beside the arrays lie a JSON record (each leaf's path, shape and
dtype, the Python numbers among the leaves, what the caller adds) and a list of the files with their checksums, so that
damage is found before anything is read. Static parts of a tree, such as the functions of a Flax `TrainState`, are those
of the program that reads.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.core.trees import leaf_paths
from jaxrl_suite.errors import UserError

FILES = "files.json"
KEEP = 2  # steps kept; the older one is there for whoever deletes a damaged newest one
_PLAIN = {bool: "number", int: "number", float: "number", str: "text"}
_REMEDY = "run the version that wrote it, or start a new run folder"


class Restored(NamedTuple):
    """A step that was restored."""

    step: int
    tree: Any
    meta: dict[str, Any]


def save(folder: Path, step: int, tree: Any, meta: dict[str, Any]) -> None:
    """Writes a checkpoint and returns when it is on disk.

    Args:
      folder: absolute or relative path; made if it does not exist.
      step: number of the checkpoint, at least 0, larger than those before.
      tree: leaves may be jax arrays (typed keys too, on any sharding), numpy arrays, and Python numbers or strings.
      meta: JSON values to keep beside it.

    Raises:
      UserError: if a leaf is none of these, which is named, the step is not larger, or the folder cannot be written.
    """
    folder = Path(folder)
    leaves = jax.tree.leaves(tree)
    for place, leaf in enumerate(leaves):
        if problem := _leaf_problem(leaf):
            raise UserError(f"leaf {leaf_paths(tree)[place]} of the carry {problem}")
    arrays = {str(i): _native(leaf) for i, leaf in enumerate(leaves) if _is_array(leaf)}
    record = {
        "meta": meta,
        "paths": [[keystr(path), _signature(leaf)] for path, leaf in tree_leaves_with_path(tree)],
        "plain": {str(i): leaf for i, leaf in enumerate(leaves) if not _is_array(leaf)},
        "arrays": {i: _signature(leaf) for i, leaf in arrays.items()},
    }
    place = folder / str(step)
    try:
        with _manager(folder, write=True) as (ocp, manager):
            if (last := manager.latest_step()) is not None and step <= last:
                raise UserError(f"{folder} holds step {last} already, got step {step}: save a later step")
            stored = {i: leaf for i, leaf in arrays.items() if leaf.size}  # orbax refuses arrays without elements
            items = {"record": ocp.args.JsonSave(record)}
            if stored:
                items["state"] = ocp.args.StandardSave(stored)
            manager.save(step, args=ocp.args.Composite(**items), force=True)
            manager.wait_until_finished()
        if jax.process_index() == 0:
            write_atomic(place / FILES, json.dumps(_checksums(place), indent=0) + "\n")
    except UserError:
        raise
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise UserError(f"cannot write the checkpoint {place}: {_cause(error, leaf_paths(tree), leaves)}") from None


def latest_step(folder: Path) -> int | None:
    """The newest complete step in `folder`, or None; half-written ones do not count."""
    if not Path(folder).is_dir():
        return None
    with _manager(folder, write=False) as (_, manager):
        return manager.latest_step()


def restore(folder: Path, like: Any, step: int | None = None) -> Restored:
    """Reads a checkpoint.

    Args:
      folder: as given to `save`.
      like: a tree with the same leaves: paths, shapes and dtypes; `jax.ShapeDtypeStruct`s may stand for arrays. Each
        jax array comes back with the sharding that it has in `like` (so a run may continue on other devices), numpy
        arrays as numpy arrays, the rest as it was.
      step: which step; the newest by default.

    Raises:
      UserError: if there is no such step, it is damaged, or a leaf differs, the first of which is named.
    """
    folder = Path(folder)
    step = latest_step(folder) if step is None else step
    if step is None or not (folder / str(step)).is_dir():
        raise UserError(f"{folder} holds no checkpoint{'' if step is None else f' of step {step}'}")
    place = folder / str(step)
    damaged = UserError(
        f"the checkpoint {place} is damaged: delete that folder to continue from the one before it, "
        "or the whole run folder to start over"
    )
    if not _intact(place):
        raise damaged
    leaves, treedef = jax.tree.flatten(like)
    with _manager(folder, write=False) as (ocp, manager):
        try:
            record = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            signatures, plain, meta = record["arrays"], record["plain"], record["meta"]
            known = record["paths"] if "paths" in record else record["structure"]
        except Exception:  # orbax, tensorstore and json raise many kinds
            raise damaged from None
        difference = _difference(known, like) if "paths" in record else _older_difference(known, signatures, like)
        if difference:
            raise UserError(f"the checkpoint {place} holds a state of another shape: {difference}; {_REMEDY}")
        template = {i: _template(leaves[int(i)]) for i in signatures if leaves[int(i)].size}
        try:
            state = {}
            if template:
                args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
                state = manager.restore(step, args=args)["state"]
        except Exception:
            raise damaged from None
    # Orbax takes no notice of a numpy template's shape, and casts to its dtype.
    if any(_signature(leaf) != signatures[i] for i, leaf in state.items()):
        raise damaged
    found = [plain[str(i)] if str(i) in plain else _like(leaf, state.get(str(i))) for i, leaf in enumerate(leaves)]
    return Restored(step, jax.tree.unflatten(treedef, found), meta)


@contextmanager
def _manager(folder: Path, *, write: bool) -> Iterator[tuple[Any, Any]]:
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax reports its own defaults as warnings
    import orbax.checkpoint as ocp

    if write:
        options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
    else:
        options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager(Path(folder).absolute(), options=options) as manager:
        yield ocp, manager


def _leaf_problem(leaf: Any) -> str:
    """Why a checkpoint cannot hold a leaf; empty if it can."""
    what = type(leaf).__name__
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            return "was donated to a computation: keep the array that it returned"
        return ""
    if isinstance(leaf, (np.ndarray, np.generic)):
        if not isinstance(leaf, np.ma.MaskedArray) and leaf.dtype.kind not in "USMmO" and leaf.dtype.names is None:
            return ""
        what = "masked array" if isinstance(leaf, np.ma.MaskedArray) else f"array of {leaf.dtype}"
    elif type(leaf) in _PLAIN:
        return ""
    return f"is a {what}: keep arrays of numbers, numbers and strings in it"


def _cause(error: Exception, names: Sequence[str], leaves: Sequence[Any]) -> str:
    """One line for what orbax and tensorstore report in many, with the remedy."""
    text = " ".join(str(error).split())
    if "Unsupported data type" in text:
        for name, leaf in zip(names, leaves, strict=True):
            if _is_array(leaf) and f'"{leaf.dtype}"' in text:
                return f"leaf {name} is of type {leaf.dtype}, which cannot be stored: keep it as another type"
    reason = getattr(error, "strerror", None) or re.split(r" \[source |\[tensorstore", text)[0] or type(error).__name__
    if len(reason) > 200:
        reason = f"{reason[:80]} ... {reason[-120:]}"
    return f"{reason}; make room or raise the limit, then continue with --resume"


def _difference(known: Sequence[Sequence[str]], like: Any) -> str:
    """How the leaves of a checkpoint differ from those of `like`, at the first that does."""
    here = [(keystr(path), _signature(leaf)) for path, leaf in tree_leaves_with_path(like)]
    there, wanted = {path for path, _ in known}, {path for path, _ in here}
    for place, (path, signature) in enumerate(here):
        if path not in there:
            return f"{leaf_paths(like)[place] or 'it'} ({signature}) is not in it"
    for path, signature in known:
        if path not in wanted:
            return f"it holds {_short(path)} ({signature}), which this program's state does not"
    shapes = {path: signature for path, signature in known}  # noqa: C416 (pairs of a JSON record are lists)
    for place, (path, signature) in enumerate(here):
        if shapes[path] != signature:
            return f"{leaf_paths(like)[place] or 'it'} is {shapes[path]} there and {signature} here"
    return ""


def _short(path: str) -> str:
    return re.sub(r"\['([A-Za-z_]\w*)'\]", r".\1", path)


def _older_difference(structure: str, signatures: dict[str, str], like: Any) -> str:
    """The same for a record that gives the structure as text, and arrays by their number."""
    leaves, treedef = jax.tree.flatten(like)
    if _nameless(structure) != _nameless(str(treedef)):
        return "its structure is another"
    for i, (name, leaf) in enumerate(zip(leaf_paths(like), leaves, strict=True)):
        signature = _signature(leaf) if _is_array(leaf) else "a number or text"
        if signatures.get(str(i), "a number or text") != signature:
            return f"{name or 'it'} is {signatures.get(str(i), 'a number or text')} there and {signature} here"
    return ""


def _nameless(structure: str) -> str:
    """A structure without the names of its classes, and without addresses: both change from one program to the next."""
    structure = re.sub(r"CustomNode\((namedtuple\[)?\w+", r"CustomNode(\1", structure)
    return re.sub(r" at 0x[0-9a-f]+", "", structure)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _native(leaf: Any) -> Any:
    """A numpy array in this machine's order of bytes, as it will be read."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return np.asarray(leaf).astype(leaf.dtype.newbyteorder("="), copy=False)
    return leaf


def _signature(leaf: Any) -> str:
    """Shape and dtype, for instance "float32[3,2]"; of a Python value "number" or "text"."""
    if not _is_array(leaf):
        return _PLAIN.get(type(leaf), type(leaf).__name__)
    dtype = leaf.dtype.newbyteorder("=") if isinstance(leaf.dtype, np.dtype) else leaf.dtype
    return f"{dtype}[{','.join(map(str, leaf.shape))}]"


def _checksums(place: Path) -> dict[str, int]:
    """CRC-32 of every file of a checkpoint, by its path in it."""
    sums = {}
    for path in sorted(p for p in place.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name != FILES):
        value = 0
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                value = zlib.crc32(block, value)
        sums[path.relative_to(place).as_posix()] = value
    return sums


def _intact(place: Path) -> bool:
    """True if the files are those that were written, or if the process was killed before it could list them."""
    try:
        text = (place / FILES).read_text(encoding="utf-8")
        return json.loads(text) == _checksums(place)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _template(leaf: Any) -> Any:
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return np.asarray(_native(leaf))


def _like(leaf: Any, value: Any) -> Any:
    """`value` as the kind of array that `leaf` is, tied to its device only if `leaf` is; without elements if None."""
    tied = leaf.sharding is not None if isinstance(leaf, jax.ShapeDtypeStruct) else getattr(leaf, "committed", True)
    if value is None:
        value = jnp.empty(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    if isinstance(leaf, np.generic):
        return value.astype(leaf.dtype)[()]
    if isinstance(leaf, np.ndarray):
        return value.astype(leaf.dtype, copy=False)
    if not tied and leaf.size:
        if _is_key(value):
            data = jax.device_put(np.asarray(jax.random.key_data(value)))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(value))
        return jax.device_put(np.asarray(value))
    return value
