"""The layer's public names."""

import jaxrl_suite.llm as llm


def test_every_name_is_there():
    assert llm.__all__
    for name in llm.__all__:
        assert getattr(llm, name) is not None
