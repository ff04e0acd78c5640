"""Measures of how much the answers to one problem differ, each under a name that says what it is.

Papers call two things "similarity" that are not the same: the Levenshtein distance and one less its share of the
longer answer; the overlap of token sets (Jaccard) and the ratio of matching blocks. All four are here, as distances.

Shapes: `N` answers to one problem.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from jaxrl_suite.errors import UserError

Answer = Sequence[Hashable]  # tokens, or the characters or words of a text


def distinct_share(answers: Sequence[Answer]) -> float:
    """Different answers, as a share of all N."""
    return len({tuple(answer) for answer in _several(answers, 1)}) / len(answers)


def entropy(answers: Sequence[Answer]) -> float:
    """Entropy of the empirical distribution of whole answers, in nats: 0 if all are the same, log N if none are."""
    counts = Counter(tuple(answer) for answer in _several(answers, 1))
    return -sum(c / len(answers) * math.log(c / len(answers)) for c in counts.values())


def levenshtein(a: Answer, b: Answer) -> int:
    """Least number of insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def edit_distance(a: Answer, b: Answer) -> float:
    """`levenshtein` as a share of the longer answer, 0 to 1."""
    return levenshtein(a, b) / max(len(a), len(b), 1)


def jaccard_distance(a: Answer, b: Answer) -> float:
    """One less the share of common tokens among all that either has; order and number do not count."""
    union = set(a) | set(b)
    return 1 - len(set(a) & set(b)) / len(union) if union else 0.0


def block_distance(a: Answer, b: Answer) -> float:
    """One less the ratio of matching blocks, 2 M / (len a + len b), as `difflib.SequenceMatcher` finds them."""
    return 1 - difflib.SequenceMatcher(None, list(a), list(b), autojunk=False).ratio()


def mean_pairwise(answers: Sequence[Answer], distance: Callable[[Answer, Answer], float]) -> float:
    """Mean distance over all pairs of answers.

    Raises:
      UserError: if there are fewer than 2.
    """
    return float(np.mean([distance(a, b) for a, b in itertools.combinations(_several(answers, 2), 2)]))


def _several(answers: Sequence[Answer], least: int) -> Sequence[Answer]:
    if len(answers) < least:
        raise UserError(f"diversity needs at least {least} answers, got {len(answers)}")
    return answers
