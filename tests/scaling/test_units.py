"""Units of answers in tokens and in words, and prompts that begin with some of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Completion, Decoding, Message
from jaxrl_suite.scaling import VisibleProblem, beam_search, uct
from jaxrl_suite.scaling.units import continued, units_of

CHAT = (Message("user", "q"),)


def completion(text=None, tokens=None):
    return Completion(text, None if tokens is None else np.asarray(tokens, np.int32), None, "stop", 1)


@given(st.text(max_size=30))
def test_words_are_the_text_again(text):
    units = units_of(completion(text), "q")
    assert "".join(units) == text
    assert all(unit.strip() or unit == units[-1] for unit in units)


def test_a_prompt_goes_on_in_its_own_kind():
    assert units_of(completion(tokens=[4, 5]), (1, 2)) == (4, 5)
    assert continued((1, 2), (4, 5)) == (1, 2, 4, 5)
    assert units_of(completion("def f():\n  return 1"), CHAT) == ("def", " f():", "\n  return", " 1")
    assert continued(CHAT, ("def", " f():")) == (*CHAT, Message("assistant", "def f():"))
    assert continued("q", (" a", " b")) == "q a b"
    assert continued(CHAT, ()) == CHAT


@pytest.mark.parametrize("search", [uct, beam_search])
def test_a_search_by_tokens_refuses_words(search):
    with pytest.raises(UserError, match="divides answers by tokens"):
        next(search(VisibleProblem(0, CHAT, Decoding(max_tokens=4))))


def test_a_model_without_tokens_cannot_answer_a_prompt_of_tokens():
    with pytest.raises(UserError, match="gives no tokens"):
        units_of(completion("a"), (1, 2))
