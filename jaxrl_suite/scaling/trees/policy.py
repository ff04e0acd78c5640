"""The policy of a tree of prefixes: which child to go down to, and what an answer changes on the way up.

Each node keeps the number, the sum and the maximum of the rewards of the answers that pass through it; an answer
changes those of its own path alone, so that a step costs the same however large the tree is. With N answers through a
node and n through its child, whose value Q is the mean (or the maximum) of their rewards, a child is chosen by

    uct     Q + c sqrt(ln N / n)
    puct    Q + c P sqrt(N) / (1 + n)

where P is the child's share of the prior of its siblings. Of equal scores the earlier child's counts. A node from which
nothing is left to draw is closed, and is not chosen again.

References: Kocsis and Szepesvari, "Bandit based Monte-Carlo planning", 2006; Silver et al., "Mastering the game of Go
without human knowledge", 2017.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, TypeVar, cast

from jaxrl_suite.errors import UserError


@dataclasses.dataclass(frozen=True)
class TreePolicy:
    """The constants of selection and backup.

    Args:
      rule: of selection, `uct` or `puct`.
      backup: the value of a node, the `mean` of the rewards below it or their `max`.
      exploration: c, at least 0.

    Raises:
      UserError: if a value is out of range.
    """

    rule: Literal["uct", "puct"] = "uct"
    backup: Literal["mean", "max"] = "mean"
    exploration: float = 1.0

    def __post_init__(self):
        if self.rule not in ("uct", "puct") or self.backup not in ("mean", "max"):
            raise UserError(f"rule must be uct or puct and backup mean or max, got {self.rule!r} and {self.backup!r}")
        if not 0 <= self.exploration < math.inf:
            raise UserError(f"exploration must be a number of at least 0, got {self.exploration}")


class PrefixNode:
    """A prefix in a tree and the statistics of the answers that pass through it.

    Args:
      prefix: tokens of the answer.
      parent: None for the root.
      prior: weight of it among its siblings, for puct.
      content: of the search that has made it.
    """

    __slots__ = ("children", "content", "highest", "parent", "prefix", "prior", "prior_sum", "total", "visits")

    def __init__(self, prefix: tuple[int, ...], parent: PrefixNode | None, prior: float = 1.0, content: Any = None):
        self.prefix, self.parent, self.prior, self.content = prefix, parent, prior, content
        self.children: list[PrefixNode] = []  # those that are open
        self.visits, self.total, self.highest, self.prior_sum = 0, 0.0, -math.inf, 0.0
        if parent is not None:
            parent.children.append(self)
            parent.prior_sum += prior

    def value(self, policy: TreePolicy) -> float:
        """The mean or the maximum of the rewards; nan before the first."""
        if not self.visits:
            return math.nan
        return self.total / self.visits if policy.backup == "mean" else self.highest


Node = TypeVar("Node", bound=PrefixNode)


def backup(node: PrefixNode | None, reward: float) -> None:
    """Counts an answer at a node and at all above it."""
    while node is not None:
        node.visits += 1
        node.total += reward
        if reward > node.highest:
            node.highest = reward
        node = node.parent


def select(node: Node, policy: TreePolicy) -> tuple[Node, float]:
    """The open child with the highest score, the earliest of several, and its score; there must be one.

    A child that no answer passes through yet comes first.
    """
    mean, uct = policy.backup == "mean", policy.rule == "uct"
    if uct:
        scale = policy.exploration * math.sqrt(math.log(max(node.visits, 1)))
    else:
        scale = policy.exploration * math.sqrt(node.visits) / node.prior_sum
    best, highest = node.children[0], -math.inf
    for child in node.children:
        visits = child.visits
        if not visits:
            return cast(Node, child), math.inf
        value = child.total / visits if mean else child.highest
        score = value + (scale / math.sqrt(visits) if uct else scale * child.prior / (1 + visits))
        if score > highest:
            best, highest = child, score
    return cast(Node, best), highest


def close(node: PrefixNode) -> None:
    """Closes a node, and each above it that has no other open child."""
    parent = node.parent
    while parent is not None:
        parent.children.remove(node)
        if parent.children:
            return
        node, parent = parent, parent.parent
