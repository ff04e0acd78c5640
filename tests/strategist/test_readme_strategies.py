"""The two strategies of the docs are complete: the heuristic passes the sandbox and plays well, the guide is read."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxrl_suite.avalonbench import Guide
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.sandbox.export import EXPORT
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.search import arena
from jaxrl_suite.search.gops import policies as gops_policies
from jaxrl_suite.strategist import Choice, GopsPlayer, Pool, export_texts, library

PAGE = (Path(__file__).parents[2] / "docs" / "systems" / "strategist.md").read_text(encoding="utf-8")
GAME = Gops(4, objective="points")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def function():
    with Sandbox(EXPORT) as sandbox:
        (report,) = export_texts(GAME, sandbox, [block("py")])
    assert report.function is not None, report.feedback
    return report.function


def test_the_heuristic_becomes_a_policy_that_beats_the_highest_card(function):
    player = GopsPlayer(Pool(library(GAME), (function,), compact=False), num_simulations=8)

    def strategy(keys, states):
        rows = Choice(np.ones(keys.shape, np.int32), np.zeros((*keys.shape, player.pool.library.size), np.float32))
        return player(rows, keys, states)[0]

    def highest(keys, states):
        return jax.vmap(lambda state: gops_policies.highest(GAME, state))(states)

    points = jax.jit(lambda keys: arena.play_both_seats(GAME, (strategy, highest), keys))(
        jax.random.split(jax.random.key(0), 64)
    )
    assert float(points.mean()) > 0.5


def test_the_guide_is_read():
    guide = Guide.parse("merlin", block("text"))
    assert len(guide.questions) == 2
    assert guide.preface.startswith("Before you speak")
