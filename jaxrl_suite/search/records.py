"""mctx's records as type checkers see them: as `Any`, because they do not follow chex dataclasses."""

from __future__ import annotations

from typing import Any, TypeAlias

import mctx

Tree: TypeAlias = Any  # mctx.Tree
RecurrentFn: TypeAlias = Any  # mctx.RecurrentFn
new_tree: Any = mctx.Tree
RecurrentFnOutput: Any = mctx.RecurrentFnOutput
RootFnOutput: Any = mctx.RootFnOutput

ROOT: int = mctx.Tree.ROOT_INDEX
UNVISITED: int = mctx.Tree.UNVISITED
NO_PARENT: int = mctx.Tree.NO_PARENT
