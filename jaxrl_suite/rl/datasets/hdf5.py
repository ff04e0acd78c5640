"""HDF5 files as flat tables of arrays; whatever is wrong with a file becomes one line that says the remedy."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrl_suite.errors import UserError

_DEFLATE = 1100  # times that deflate, the strongest of HDF5's usual filters, can shrink data, and a little
_FILLED = 1 << 30  # bytes that need no place in the file: chunks never written, or constants under scale-offset


def read_tree(path: str | Path) -> dict[str, Any]:
    """Every array of a file by its path in it, `infos/qpos` for instance; scalars of text as str.

    Attributes of the group `g` are under `g@name`, and the order is that of the names.

    Raises:
      UserError: if the file is absent, damaged, not HDF5, or refers to another file.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path")
    tree: dict[str, Any] = {}

    def visit(group: Any, prefix: str) -> None:
        for name, value in group.attrs.items():
            tree[f"{prefix.rstrip('/')}@{name}"] = _plain(value)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"{path}: {prefix}{name} is a link to elsewhere: copy its data into the file")
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, f"{prefix}{name}/")
            elif isinstance(item, h5py.Dataset):
                _check_size(path, f"{prefix}{name}", item)
                tree[f"{prefix}{name}"] = _plain(item[()])

    try:
        with h5py.File(path, "r") as file:
            visit(file, "")
    except UserError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{path} cannot be read as HDF5 ({reason}): get or write the file again") from None
    return tree


def write_tree(path: str | Path, tree: Mapping[str, Any]) -> None:
    """The inverse of `read_tree`: a file that is whole or absent, the same bytes for the same arrays.

    Raises:
      UserError: if the file cannot be written, or a value has a type that HDF5 does not know.
    """
    import h5py

    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w") as file:
            for name, value in tree.items():
                if "@" in name:
                    group, attribute = name.rsplit("@", 1)
                    (file.require_group(group) if group else file).attrs[attribute] = value
                else:
                    file.create_dataset(name, data=value)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot write {name} to {path} ({error}): give arrays of numbers, numbers or text") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Bytes as text; numbers and arrays keep their type."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _check_size(path: Path, name: str, item: Any) -> None:
    """Refuses a dataset that claims so many bytes that reading it could exhaust the memory, as a damaged one may.

    What was written must fit the file, as far as its filters can shrink it; what was not reads as one value.
    """
    if item.external or item.is_virtual:
        raise UserError(f"{path}: {name} lies in another file: copy its data into this one")
    size, there = item.size or 0, path.stat().st_size
    size *= item.dtype.itemsize
    if size <= max(1 << 20, there):
        return
    filtered = item.id.get_create_plist().get_nfilters() > 0
    written = item.id.get_storage_size()
    if item.chunks is not None:
        written = min(size, item.id.get_num_chunks() * math.prod(item.chunks) * item.dtype.itemsize)
    fits = there * (_DEFLATE if filtered else 1)
    if written > max(fits, _FILLED if item.scaleoffset is not None else 0) or size > max(fits, _FILLED):
        raise UserError(
            f"{path}: {name} claims {size:,} bytes, of which the file of {there:,} can hold {fits:,}: get it again, or "
            "if most of it was never written, give it its true size (h5py's resize)"
        )
