"""Environments by name."""

import pytest

from jaxrl_suite.envs import Avalon, Gops, list_envs, make, registry


def test_makes_every_listed_size_with_options():
    assert make("gops-7", tie="discard") == Gops(7, tie="discard")
    assert make("avalon-7", percival=True, rules="official") == Avalon(7, percival=True, rules="official")
    assert [make(name).num_cards for name in list_envs() if name.startswith("gops")] == list(range(2, 14))


@pytest.mark.parametrize(
    ("name", "options", "remedy"),
    [
        ("gosp-6", {}, "did you mean 'gops-6'"),
        ("chess", {}, "the known ones are gops-2"),
        ("gops-6", {"ties": "carry"}, "its options are tie, objective, prize_order"),
        ("gops-6", {"num_cards": 7}, "part of the name"),
        ("gops-6", {"tie": "split"}, "tie must be one of carry, discard"),
    ],
)
def test_unknown_names_and_options_get_a_remedy(name, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        make(name, **options)


def test_registers_your_own_and_refuses_a_taken_name(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    registry.register("mine", lambda: "made", "an example")
    assert make("mine") == "made"
    assert "mine" in list_envs()
    with pytest.raises(ValueError, match="registered already"):
        registry.register("gops-6", Gops, "taken")
    registry.register("sized-M", lambda size: size, "a pattern", sizes=(3,), argument="size")
    assert make("sized-3") == 3
    with pytest.raises(ValueError, match="needs sizes"):
        registry.register("other-N", Gops, "a pattern")
