"""Measures of diversity by hand, by their closed forms, and beside a plain definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl_suite.errors import UserError
from jaxrl_suite.scaling.diverse import measures as d

texts = st.text("abc", max_size=6)


def test_by_hand():
    assert d.levenshtein("kitten", "sitting") == 3
    assert d.edit_distance("kitten", "sitting") == pytest.approx(3 / 7)
    assert d.jaccard_distance("aab", "bcc") == pytest.approx(2 / 3)  # {b} of {a, b, c}
    assert d.block_distance("abcd", "bcde") == pytest.approx(1 - 2 * 3 / 8)
    assert d.edit_distance("", "") == d.jaccard_distance("", "") == d.block_distance("", "") == 0
    answers = [(1, 2), (1, 2), (3,), (4,)]
    assert d.distinct_share(answers) == 0.75
    assert d.entropy(answers) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert d.mean_pairwise(["ab", "ab", "cd"], d.edit_distance) == pytest.approx(2 / 3)


@given(texts, texts, texts)
def test_levenshtein_is_a_metric_and_agrees_with_its_recursion(a, b, c):
    def slow(x, y):
        if not x or not y:
            return len(x) + len(y)
        return min(slow(x[1:], y) + 1, slow(x, y[1:]) + 1, slow(x[1:], y[1:]) + (x[0] != y[0]))

    a, b, c = a[:4], b[:4], c[:4]
    assert d.levenshtein(a, b) == slow(a, b) == d.levenshtein(b, a)
    assert d.levenshtein(a, c) <= d.levenshtein(a, b) + d.levenshtein(b, c)
    assert (d.levenshtein(a, b) == 0) == (a == b)


def test_too_few_answers_are_refused():
    with pytest.raises(UserError, match="at least 2 answers"):
        d.mean_pairwise(["a"], d.edit_distance)
    with pytest.raises(UserError, match="at least 1 answers"):
        d.distinct_share([])
