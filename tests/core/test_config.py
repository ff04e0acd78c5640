"""Configs survive JSON, hash alike everywhere, and refuse what does not fit."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.core.config import (
    check_choices,
    check_distinct,
    check_ranges,
    config_hash,
    from_json,
    override,
    to_json,
    update_json,
)
from jaxrl_suite.core.config_paths import option, renamed_path, suggest_path
from jaxrl_suite.errors import suggest


@dataclasses.dataclass(frozen=True)
class Game:
    cards: int = 6
    tie: Literal["carry", "discard"] = "carry"

    def __post_init__(self):
        if self.cards == 99:
            raise ValueError(f"cards must be at most 52, got {self.cards}")


@dataclasses.dataclass(frozen=True)
class Maze:
    size: int = 5


@dataclasses.dataclass(frozen=True)
class Config:
    game: Game = Game()
    seeds: tuple[int, ...] = (0, 1)
    rate: float = 1e-3
    name: str = "a"
    flag: bool = False
    limit: int | None = None
    pair: tuple[int, float] = (1, 2.0)
    where: Path | None = None
    env: Game | Maze = Maze()

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}")


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Config,
        game=st.builds(Game, cards=st.integers(), tie=st.sampled_from(["carry", "discard"])),
        seeds=st.lists(st.integers()).map(tuple),
        rate=st.floats(min_value=0),
        name=st.text(),
        flag=st.booleans(),
        limit=st.none() | st.integers(),
        pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
        where=st.none() | st.sampled_from([Path("a/b")]),
        env=st.one_of(st.builds(Game), st.builds(Maze, size=st.integers())),
    )
)
def test_json_round_trip(config):
    text = json.dumps(to_json(config), allow_nan=False)
    assert from_json(Config, json.loads(text)) == config
    assert config_hash(from_json(Config, json.loads(text))) == config_hash(config)


def test_hash_is_stable_and_tells_configs_apart():
    assert config_hash(Config(rate=1.0)) == config_hash(Config(rate=1))  # pyright: ignore
    hashes = {
        config_hash(c) for c in (Config(), Config(rate=2e-3), Config(seeds=(0,)), Config(game=Game(cards=5)), Game())
    }
    assert len(hashes) == 5
    code = "import test_config as t; from jaxrl_suite.core.config import config_hash; print(config_hash(t.Config()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == config_hash(Config())


def test_overrides_are_typed():
    changed = override(
        Config(),
        {
            "seeds": ["3", "4,5"],
            "rate": ["1e-2"],
            "flag": [],
            "limit": ["7"],
            "game.tie": ["discard"],
            "game.cards": ["4"],
            "pair": ["2", "inf"],
            "where": ["x/y"],
            "env.size": ["9"],
        },
    )
    expected = Config(
        game=Game(4, "discard"), seeds=(3, 4, 5), rate=0.01, flag=True, limit=7, pair=(2, math.inf),
        where=Path("x/y"), env=Maze(9),
    )  # fmt: skip
    assert changed == expected
    assert override(changed, {"limit": ["none"], "flag": ["false"], "seeds": []}).seeds == ()


@pytest.mark.parametrize(
    ("field", "words", "message"),
    [
        ("sedes", ["1"], "Did you mean seeds"),
        ("game.card", ["1"], "Did you mean game.cards"),
        ("tie", ["carry"], r"unknown field 'tie'\. Did you mean game\.tie\?"),
        ("env.siz", ["1"], "Did you mean env.size"),
        ("game.cards", ["x"], "game.cards must be a whole number"),
        ("game.cards", ["99"], "game: cards must be at most 52, got 99"),
        ("rate", ["fast"], "rate must be a number"),
        ("rate", ["1", "2"], "one value"),
        ("rate", ["-1"], "at least 0"),
        ("seeds", ["1.5"], "whole number"),
        ("game.tie", ["cary"], "Did you mean carry"),
        ("flag", ["maybe"], "true or false"),
        ("game", ["gops"], "set its fields"),
        ("rate.x", ["1"], "no field 'x'"),
        ("pair", ["1"], "pair must be"),
    ],
)
def test_bad_overrides_name_the_remedy(field, words, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), {field: words})


@pytest.mark.parametrize(
    "data", [{"sead": 1}, {"seeds": 3}, {"rate": "x"}, {"rate": True}, {"seeds": [1.0]}, {"game": 3}, {"flag": 1}, []]
)
def test_json_of_another_shape_is_refused(data):
    with pytest.raises(ValueError, match=r"must be|unknown field"):
        from_json(Config, data)


RENAMED = {"num_cards": "cards", "cards": "game.cards", "maze": "env", "tempo": "rate"}


def test_a_config_of_an_earlier_version_is_written_as_today():
    old = {"num_cards": 4, "tempo": 2.0, "maze": {"size": 7}, "seeds": [3]}
    new = Config(game=Game(cards=4), rate=2.0, env=Maze(7), seeds=(3,))
    assert update_json(Config, old | {"maze": {"kind": "Maze", "size": 7}}, RENAMED) == to_json(new)
    assert update_json(Config, to_json(new), RENAMED) == to_json(new)
    assert update_json(Config, {}, {}) == to_json(Config())
    other = to_json(Config(env=Game(3)))
    assert update_json(Config, other, {}) == other  # of another class than the default's
    for bad in ({"gone": 1}, {"rate": "x"}, {"rate": -1.0}):
        with pytest.raises(ValueError, match=r"unknown field 'gone'|rate must be"):
            update_json(Config, bad, RENAMED)


def test_a_nested_config_keeps_the_defaults_that_its_holder_gives_it():
    @dataclasses.dataclass(frozen=True)
    class Holder:
        game: Game = Game(cards=9)
        seeds: tuple[int, ...] = ()

    assert update_json(_hints(Holder), {"tie": "discard"}, {"tie": "game.tie"})["game"] == to_json(Game(9, "discard"))


def _hints(cls):
    """A class of a function, whose annotations a module cannot resolve."""
    cls.__annotations__ = {"game": Game, "seeds": tuple[int, ...]}
    return cls


def test_paths_of_renamed_fields():
    assert renamed_path("num_cards", RENAMED) == "game.cards"
    assert renamed_path("maze.size", RENAMED) == "env.size"
    assert renamed_path("game.cards", RENAMED) is None
    assert renamed_path("a", {"a": "b", "b": "a"}) == "a"  # a circle ends
    assert option("game.num_cards") == "--game.num-cards"


def test_suggested_paths():
    paths = ["seeds", "maze.outer_steps", "pendulum.outer_steps", "maze.levels"]
    assert suggest_path("levels", paths) == ". Did you mean maze.levels?"
    assert suggest_path("outer_steps", paths) == ". Did you mean maze.outer_steps or pendulum.outer_steps?"
    assert suggest_path("mase.levels", paths) == ". Did you mean maze.levels?"
    assert suggest_path("outr_stepz", paths).startswith(". Did you mean ")
    assert "Choose from" in suggest_path("zzz", paths)


def test_suggest():
    assert suggest("gops_serch", ["gops_search", "market"]) == ". Did you mean gops_search?"
    assert "a, b" in suggest("zzz", ["b", "a"])


@dataclasses.dataclass(frozen=True)
class _Checked:
    size: int = 5
    seeds: tuple[int, ...] = (0, 1)

    def __post_init__(self):
        check_ranges(self, size=(1, 9), seeds=(0, 7))
        check_distinct(self, "seeds")


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        (dict(size=10), "size must be 1 to 9, got 10"),
        (dict(seeds=(0, 8)), "each of seeds must be 0 to 7, got 8"),
        (dict(seeds=(2, 2)), "none twice"),
        (dict(seeds=()), "at least one value"),
    ],
)
def test_ranges_are_checked(bad, remedy):
    _Checked(size=9, seeds=(7,))
    with pytest.raises(ValueError, match=remedy):
        _Checked(**bad)


def test_choices_are_checked():
    @dataclasses.dataclass(frozen=True)
    class Meal:
        dish: str | None = "soup"

        def __post_init__(self):
            check_choices(self, dish=(None, "soup", "bread"))

    assert Meal(None).dish is None
    with pytest.raises(ValueError, match=r"unknown dish 'soop'\. Did you mean soup\?"):
        Meal("soop")
