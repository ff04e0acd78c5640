"""What a request may hold, and what names its draws."""

import numpy as np
import pytest

from jaxrl_suite.llm.protocol import Decoding, Message, Request


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Decoding(max_tokens=0), "max_tokens must be"),
        (lambda: Decoding(max_tokens=2.5), "max_tokens must be"),
        (lambda: Decoding(max_tokens=np.int64(3)), "max_tokens must be"),
        (lambda: Decoding(temperature=-1.0), "temperature must be"),
        (lambda: Decoding(temperature=float("nan")), "temperature must be"),
        (lambda: Decoding(top_k=2**31), "top_k must be"),
        (lambda: Decoding(top_p=0.0), "top_p above 0"),
        (lambda: Decoding(stop="END"), r'like \("END",\)'),
        (lambda: Decoding(stop=["END"]), "stop must be a tuple"),
        (lambda: Decoding(stop=("",)), "not empty"),
        (lambda: Decoding(stop_tokens=2), "stop_tokens must be a tuple"),
        (lambda: Decoding(stop_tokens=(2.0,)), "stop_tokens must be a tuple"),
        (lambda: Request("x", 0), "num_samples must be"),
        (lambda: Request("x", 2.0), "num_samples must be"),
        (lambda: Request("x", first_draw=-1), "first_draw one of at least 0"),
        (lambda: Request("x", path=[1]), "path must be a tuple"),
        (lambda: Request("x", path=(1.0,)), "path must be a tuple of integers"),
        (lambda: Request("x", path=(np.int32(1),)), "path must be a tuple of integers"),
        (lambda: Request("x", path=(2**32,)), "path must be a tuple of integers"),
        (lambda: Request(""), "the prefix is empty"),
        (lambda: Request(()), "the prefix is empty"),
        (lambda: Request([1, 2]), "prefix must be a text, a tuple"),
        (lambda: Request(np.arange(3)), r"tuple\(ids\.tolist\(\)\)"),
        (lambda: Request(tuple(np.arange(3))), r"tuple\(ids\.tolist\(\)\)"),
        (lambda: Request((1, "a")), "prefix must be a text, a tuple"),
        (lambda: Request((1, Message("user", "a"))), "prefix must be a text, a tuple"),
        (lambda: Request(Message("user", "a")), "a tuple of messages"),
        (lambda: Request(None), "prefix must be a text, a tuple"),
    ],
)
def test_what_names_no_draw_is_refused(make, match):
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_equal_requests_have_one_identity_and_others_another():
    assert Request("x", decoding=Decoding(temperature=1, top_p=1)).identity("m") == Request("x").identity("m")
    assert Request("x", 3, first_draw=2, role="judge").identity("m") == Request("x").identity("m")
    different = [
        Request("x"),
        Request("y"),
        Request((1,)),
        Request((1, 2)),
        Request((Message("user", "x"),)),
        Request((Message("system", "x"),)),
        Request("x", path=(0,)),
        Request("x", path=(0, 0)),
        Request("x", decoding=Decoding(max_tokens=9)),
        Request("x", decoding=Decoding(stop=("a", "b"))),
        Request("x", decoding=Decoding(stop=("a,b",))),
        Request("x", decoding=Decoding(stop_tokens=(1,))),
    ]
    assert len({request.identity("m") for request in different} | {different[0].identity("n")}) == 13
