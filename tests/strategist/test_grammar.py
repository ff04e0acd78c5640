"""Sentences of the grammar mean what they say; conclusions point where the search does; texts equal their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toy_strategies import NAMES, TRUTH, ToyLibrary
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.strategist.heuristics import grammar
from jaxrl_suite.strategist.heuristics.grammar import Finding, Operator
from jaxrl_suite.strategist.heuristics.grammar_proposer import GrammarProposer
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.views import example_views

TOY = ToyLibrary()


def result(asking):
    with pytest.raises(StopIteration) as stop:
        next(asking)
    return stop.value.value


def strategy(weights, number=0, thought=""):
    return Strategy(number, "heuristic", TOY.render(weights), weights=tuple(weights), thought=thought)


def states(weights, count=10, seed=0, sides=False, spread=1.0):
    """Key states of a heuristic, with scores of two players; with `sides`, chances of three good ones and two evil."""
    rng = np.random.default_rng(seed)
    rows = []
    for x in spread * rng.normal(size=(count, len(NAMES))):
        evil = rng.permutation([True, True, False, False, False])
        values = []
        for total in (float(np.dot(weights, x)), float(TRUTH @ x)):
            good_wins = 0.5 + total / 100  # in a range in which log-odds are linear
            chances = np.where(evil, 1 - good_wins, good_wins)
            values.append(tuple(chances) if sides else (5 + total / 2, 5 - total / 2))
        rows.append(KeyState(0, "", values[0], {}, values[1], values[1], tuple(x)))
    return rows


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_saying_and_parsing_are_inverse(seed):
    rng = np.random.default_rng(seed)
    weights = dict(zip(NAMES, rng.choice([0.0, 1.0, -0.37], len(NAMES)), strict=True))
    found = [Finding("noise", float(rng.normal()), 0.3), Finding("lead", float(rng.normal()), 1.0)]
    for operator in (grammar.draw_blind(rng, weights), grammar.draw_guided(rng, found, weights)):
        assert grammar.parse(grammar.say(operator, TOY)) == operator


def test_operators_by_hand():
    weights, names = (1.0, -2.0, 0.0), ("a", "b", "c")
    cases = {
        Operator("add", "c", amount=0.5): (1.0, -2.0, 0.5),
        Operator("raise", "b", amount=1.5): (1.0, -3.0, 0.0),
        Operator("lower", "a", amount=0.5): (0.5, -2.0, 0.0),
        Operator("flip", "b"): (1.0, 2.0, 0.0),
        Operator("drop", "a"): (0.0, -2.0, 0.0),
        Operator("move", "c", "a", 0.25): (0.75, -2.0, 0.25),
        Operator("match", "c", "b"): (1.0, -2.0, -2.0),
        Operator("scale", amount=2.0): (2.0, -4.0, 0.0),
    }
    assert {operator.name for operator in cases} == set(grammar._SENTENCES)
    for operator, expected in cases.items():
        assert grammar.apply(operator, weights, names) == expected
    with pytest.raises(ValueError, match="no feature d"):
        grammar.apply(Operator("drop", "d"), weights, names)
    for odd in ("", "Play better.", "Add ..1 to the weight of a", "Leave a out and b too"):
        assert grammar.parse(odd) is None


@pytest.mark.parametrize("sides", [False, True])
def test_conclusions_name_the_weights_that_are_wrong(sides):
    """With many states a ridge regression finds truth minus weights, shrunk, in the weights' own unit."""
    weights = np.array([1.0, 0.5, 0.6, 0.0, 0.0, -0.5])
    found = grammar.findings(states(weights, 400, sides=sides, spread=2.0), weights, NAMES)
    assert found[0].feature == "lead"
    assert found[0].slope == pytest.approx(0.4 / 1.3, abs=0.05)
    assert grammar.parse_findings(grammar.say_findings(found))[0].slope == pytest.approx(found[0].slope, rel=0.01)
    few = grammar.findings(states(TOY.seed_weights, 10), TOY.seed_weights, NAMES)
    assert few[0].feature == "high_cards"
    assert few[0].slope > 0
    assert grammar.findings([], weights, NAMES) == ()
    assert grammar.findings([KeyState(0, "", (1.0,), {}, (1.0,), (1.0,))], weights, NAMES) == ()
    nothing = grammar.findings(states(np.zeros(6), 50), np.zeros(6), NAMES)  # the heuristic says nothing: no unit
    assert {one.feature for one in nothing[:2]} == {"high_cards", "lead"}


def test_ideas_are_new_of_the_grammar_and_of_two_kinds():
    proposer, seed = GrammarProposer(TOY), strategy(TOY.seed_weights)
    said = result(proposer.conclusions(seed, states(TOY.seed_weights), (0, 1, 0, 0)))
    ideas = result(proposer.ideas(seed, said, (), 12, (0, 1, 0, 0)))
    assert len(set(ideas)) == 12
    assert ideas == result(proposer.ideas(seed, said, (), 12, (0, 1, 0, 0)))
    assert set(ideas).isdisjoint(result(proposer.ideas(seed, said, ideas, 12, (0, 1, 0, 0))))
    gains = []
    for idea in ideas:
        draft = result(proposer.implement(seed, idea, (0, 1, 0, 0)))
        assert draft.weights != seed.weights
        assert draft.text == TOY.render(draft.weights)
        gains.append(np.linalg.norm(np.array(seed.weights) - TRUTH) - np.linalg.norm(np.array(draft.weights) - TRUTH))
    assert min(gains) < -0.1 < 0.1 < max(gains)  # some do harm
    blind = GrammarProposer(TOY, guided=0.0)
    means = [
        np.mean([
            np.linalg.norm(np.array(seed.weights) - TRUTH)
            - np.linalg.norm(np.array(result(one.implement(seed, idea, (0,))).weights) - TRUTH)
            for path in range(20)
            for idea in result(one.ideas(seed, said, (), 5, (path,)))
        ])
        for one in (GrammarProposer(TOY, guided=1.0), blind)
    ]  # fmt: skip
    assert means[0] > 0.1 > 0 > means[1]


def test_an_idea_of_one_strategy_can_be_tried_on_another():
    proposer = GrammarProposer(TOY)
    idea = grammar.say(Operator("add", "low_cards", amount=0.5), TOY)
    for weights in (TOY.seed_weights, (2.0, 1.0, 0.0, 0.0, 0.0, 0.0)):
        draft = result(proposer.implement(strategy(weights), idea, (0,)))
        assert draft.weights[1] == weights[1] + 0.5
    for odd in ("Count the trumps.", "Leave trumps out."):
        draft = result(proposer.implement(strategy(TOY.seed_weights), odd, (0,)))
        assert draft.problem
        assert result(proposer.repair(draft, draft.problem, (0,))) is None
    with pytest.raises(ValueError, match="has no weights"):
        result(proposer.implement(Strategy(4, "heuristic", "def f"), idea, (0,)))


def test_a_thought_remembers_what_was_done():
    proposer = GrammarProposer(TOY)
    at, lines = strategy(TOY.seed_weights), []
    for turn in range(8):
        thought = result(proposer.revise(at, "", (turn,)))
        draft = result(proposer.follow(at, thought, (turn,)))
        new = [line for line in thought.splitlines() if line not in at.thought.splitlines()]
        assert len(new) == 1
        lines += new
        assert draft.weights == grammar.apply(grammar.parse(new[0]), at.weights, NAMES)
        at = strategy(draft.weights, thought=draft.thought)
    assert at.thought.splitlines() == lines[-6:]


@pytest.mark.parametrize("game", [Gops(4), Avalon(5)], ids=["gops", "avalon"])
def test_the_text_of_a_draft_computes_what_its_weights_do(game):
    features = library(game)
    proposer = GrammarProposer(features)
    at = Strategy(0, "heuristic", "", weights=features.seed_weights)
    for turn in range(6):
        (idea,) = result(proposer.ideas(at, "", (), 1, (turn,)))
        draft = result(proposer.implement(at, idea, (turn,)))
        at = Strategy(0, "heuristic", draft.text, weights=draft.weights)
    space = {"jnp": jnp, "jax": jax, "nn": jax.nn, "lax": jax.lax}
    exec(at.text, space)  # our own text; a model's goes through the sandbox

    @jax.jit
    def both(key):
        views = example_views(game, key, 8)
        written = jax.vmap(space["evaluate_state"])(views)
        return written, jax.vmap(lambda view: features.evaluate(jnp.array(at.weights), view))(views)

    with jax.numpy_rank_promotion("allow"):  # as in the sandbox
        (values, named), expected = both(jax.random.key(0))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    assert set(named) == {name for name, weight in zip(features.names, at.weights, strict=True) if weight}
