"""The package's public names."""

from jaxrl_suite import strategist


def test_every_name_is_there():
    assert strategist.__all__
    for name in strategist.__all__:
        assert getattr(strategist, name) is not None
