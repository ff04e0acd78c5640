"""Checkpoints of any pytree, bit for bit; the one module that knows orbax.

A checkpoint is `folder/STEP/`. Orbax writes it under another name and renames it when it is complete, so a process that
is killed leaves either the whole step or none of it. Beside the arrays lie a JSON record (the structure, the Python
numbers among the leaves, what the caller adds) and a list of the files with their checksums, so that damage is found
before anything is read.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.errors import UserError

FILES = "files.json"
KEEP = 2  # steps kept; the older one is there for whoever deletes a damaged newest one


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
      UserError: if a leaf is none of these, or the folder cannot be written.
    """
    leaves, treedef = jax.tree.flatten(tree)
    arrays, plain = {}, {}
    for i, leaf in enumerate(leaves):
        if _is_array(leaf):
            arrays[str(i)] = leaf
        elif isinstance(leaf, (bool, int, float, str)):
            plain[str(i)] = leaf
        else:
            raise UserError(f"leaf {i} of the carry is a {type(leaf).__name__}: keep arrays, numbers and strings in it")
    record = {
        "meta": meta,
        "structure": str(treedef),
        "plain": plain,
        "arrays": {i: _signature(leaf) for i, leaf in arrays.items()},
    }
    try:
        with _manager(folder, write=True) as (ocp, manager):
            stored = {i: leaf for i, leaf in arrays.items() if leaf.size}  # orbax refuses arrays without elements
            items = {"record": ocp.args.JsonSave(record)}
            if stored:
                items["state"] = ocp.args.StandardSave(stored)
            manager.save(step, args=ocp.args.Composite(**items), force=True)
            manager.wait_until_finished()
    except OSError as error:
        raise UserError(f"cannot write the checkpoint {folder}/{step}: {error.strerror or error}") from None
    if jax.process_index() == 0:
        place = Path(folder) / str(step)
        write_atomic(place / FILES, json.dumps(_checksums(place), indent=0) + "\n")


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
      like: a tree of the same structure, shapes and dtypes. Each jax array comes back with the sharding that it has in
        `like` (so a run may continue on other devices), numpy arrays as numpy arrays, the rest as it was.
      step: which step; the newest by default.

    Raises:
      UserError: if there is no such step, it is damaged, or it holds a tree of another structure or shape.
    """
    folder = Path(folder)
    step = latest_step(folder) if step is None else step
    if step is None or not (folder / str(step)).is_dir():
        raise UserError(f"{folder} holds no checkpoint{'' if step is None else f' of step {step}'}")
    damaged = UserError(
        f"the checkpoint {folder / str(step)} is damaged: delete that folder to continue from the one before it, "
        "or the whole run folder to start over"
    )
    if not _intact(folder / str(step)):
        raise damaged
    leaves, treedef = jax.tree.flatten(like)
    with _manager(folder, write=False) as (ocp, manager):
        try:
            record = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]
            structure, signatures, plain = record["structure"], record["arrays"], record["plain"]
        except Exception:  # orbax, tensorstore and json raise many kinds
            raise damaged from None
        wanted = {str(i): _signature(leaf) for i, leaf in enumerate(leaves) if _is_array(leaf)}
        if _nameless(structure) != _nameless(str(treedef)) or wanted != signatures:
            raise UserError(
                f"the checkpoint {folder / str(step)} holds a state of another shape than this program's: "
                "run the version that wrote it, or start a new run folder"
            )
        template = {i: _template(leaves[int(i)]) for i in signatures if leaves[int(i)].size}
        try:
            state = {}
            if template:
                args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
                state = manager.restore(step, args=args)["state"]
        except Exception:
            raise damaged from None
    if any(_signature(leaf) != signatures[i] for i, leaf in state.items()):
        raise damaged
    found = [
        plain[str(i)] if str(i) in plain else _like(leaf, state.get(str(i), leaf)) for i, leaf in enumerate(leaves)
    ]
    return Restored(step, jax.tree.unflatten(treedef, found), record["meta"])


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


def _nameless(structure: str) -> str:
    """A structure without the names of its classes, which may change from one version to the next."""
    return re.sub(r"CustomNode\((namedtuple\[)?\w+", r"CustomNode(\1", structure)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _signature(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


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
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return np.asarray(leaf)


def _like(leaf: Any, value: Any) -> Any:
    """`value` as the kind of array that `leaf` is, tied to its device only if `leaf` is."""
    if isinstance(leaf, np.generic):
        return value[()]
    if isinstance(leaf, jax.Array) and not getattr(leaf, "committed", True) and leaf.size:
        if _is_key(value):
            data = jax.device_put(np.asarray(jax.random.key_data(value)))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(np.asarray(value))
    return value
