"""The outer search on a toy whose truth is known: it improves, is deterministic, counts what it costs, and resumes."""

import contextlib
import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from fixtures.toy_strategies import ScriptedModel, ToyJudge, ToyLibrary, sensible

from jaxrl_suite.evolve import evolve as evolving
from jaxrl_suite.evolve import methods
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.evolve import search_job
from jaxrl_suite.evolve.journal import Journal, services
from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.methods import METHODS, EvolveConfig
from jaxrl_suite.evolve.proposer import ReplayProposer
from jaxrl_suite.evolve.records import Judgement, Strategy
from jaxrl_suite.llm.jobs import Job, SamplerFailedError
from jaxrl_suite.llm.ledger import Budget
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Reply, Usage
from jaxrl_suite.llm.recorder import Recorder, ReplaySampler
from jaxrl_suite.llm.recording import Recording
from jaxrl_suite.strategist.heuristics.features import HEURISTIC
from jaxrl_suite.strategist.heuristics.grammar_proposer import GrammarProposer
from jaxrl_suite.strategist.judge.guide import GUIDE

GRAMMAR, MODEL = GrammarProposer(ToyLibrary()), LanguageModelProposer(Brief(HEURISTIC, "a toy"))
SMALL = EvolveConfig(strategies=8, rounds=2)


def run(jobs, judge=None, model=None, journal=None):
    outcomes = run_lockstep(jobs, model or ScriptedModel(sensible), services(judge or ToyJudge(), journal))
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]


def one(config=SMALL, proposer=GRAMMAR, seed=0, **options):
    return run([search_job("it", config, proposer, seed=seed)], **options)[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("proposer", [GRAMMAR, MODEL], ids=["grammar", "model"])
def test_every_method_makes_its_strategies_and_is_deterministic(method, proposer):
    config = dataclasses.replace(SMALL, method=method)
    judge, model = ToyJudge(), ScriptedModel(sensible)
    search = one(config, proposer, judge=judge, model=model)
    assert search == one(config, proposer)
    assert search.tree != one(config, proposer, seed=1).tree
    filled = sum(child.failures != () and child.idea is None for child in search.tree if child.parent is not None)
    assert len(search.tree) + len(search.tree.dropped) == 9 + (filled if METHODS[method].forward_fill else 0)
    assert [point.round for point in search.curve] == [0, 1, 2]
    assert search.is_done
    assert not search.stopped
    for child in list(search.tree)[1:]:
        assert child.parent < child.id
        assert (child.idea is None) == (
            METHODS[method].thought or (METHODS[method].forward_fill and child.failures != ())
        )
        assert child.games > 0
    seen = {0}
    for _, players in judge.judged[1:]:  # every child is played beside its parent, with numbers of its own
        assert {search.tree[number].parent for number in set(players) - seen} <= set(players)
        seen |= set(players)
    assert len(set(judge.judged)) == len(judge.judged) == 1 + 2 * (4 if METHODS[method].sequential else 1)
    tried = Counter(strategy.idea for strategy in search.tree if strategy.idea is not None)
    tried.update(attempt.idea for attempt in search.tree.dropped if attempt.idea is not None)
    assert tried == Counter({idea.id: idea.count for idea in search.queue.ideas if idea.count})
    assert all(idea.pending == 0 for idea in search.queue.ideas)


def test_selection_is_what_the_method_says():
    line = one(dataclasses.replace(SMALL, method="line"))
    assert [child.parent for child in line.tree] == [None, *range(8)]
    greedy = one(dataclasses.replace(SMALL, method="greedy"))
    assert {child.parent for child in greedy.tree if greedy.tree.born[child.id] == 1} == {0}
    last = {child.parent for child in greedy.tree if greedy.tree.born[child.id] == 2}
    assert len(last) == 1
    assert greedy.tree.born[last.pop()] == 1


@pytest.mark.parametrize("proposer", [GRAMMAR, MODEL], ids=["grammar", "model"])
def test_costs_are_what_was_asked_for(proposer):
    judge, model = ToyJudge(), ScriptedModel(sensible)
    (outcome,) = run_lockstep([search_job("it", SMALL, proposer)], model, services(judge))
    cost, total = outcome.value.cost, outcome.ledger.total
    journal_free = one(SMALL, proposer)
    assert cost == journal_free.cost
    assert cost.strategies == 8 - cost.dropped
    assert cost.games == 32 * sum(len(players) for _, players in judge.judged)
    assert cost.checks == outcome.ledger.by_role.get("check", Usage()).verifier_calls >= len(judge.checked)
    assert len(set(judge.checked)) == len(judge.checked)  # the same text is not checked again
    assert (cost.prompt_tokens, cost.output_tokens) == (total.prompt_tokens, total.output_tokens)
    assert methods.rows(outcome.value)[-1]["calls"] == cost.calls
    if proposer is MODEL:
        assert cost.calls == len(model.requests) - 1  # the seed takes two
        assert cost.output_tokens > 0
    else:
        assert (model.requests, cost.output_tokens, cost.checks) == ([], 0, 0)
        assert cost.calls == 1 + 2 * (1 + 1 + 4)
        assert cost.characters > 0


def test_searches_in_lockstep_share_their_calls_and_are_as_alone():
    names = ("strategist", "best-first", "line")
    configs = [dataclasses.replace(SMALL, method=name) for name in names]
    model = ScriptedModel(sensible)
    jobs = [search_job(f"{c.method}-{seed}", c, MODEL, seed=seed) for c in configs for seed in (0, 1)]
    together = run(jobs, model=model)
    assert together == [one(c, MODEL, seed=seed) for c in configs for seed in (0, 1)]
    assert len(model.batches) < 60
    assert max(model.batches) >= 12


def test_round_by_round_equals_the_whole():
    whole = one(SMALL, MODEL)
    judge = services(ToyJudge())

    def step(make):
        (outcome,) = run_lockstep([Job("step", make)], ScriptedModel(sensible), judge)
        return outcome.value

    setup = SearchSetup(SMALL, MODEL)
    search = step(lambda ledger: evolving.start(setup, ledger))
    while not search.is_done:
        search = step(lambda ledger, search=search: evolving.improve(setup, search, ledger))
    assert search == whole


def test_it_improves_and_the_queue_pays_off():
    """Strength of the best strategy, over ten seeds, against that of the seed strategy."""
    seed_strength = ToyJudge.strength(ToyLibrary().render(ToyLibrary.seed_weights))
    gains = {}
    for method in ("strategist", "line"):
        config = EvolveConfig(method=method)
        searches = run([search_job(f"{seed}", config, GRAMMAR, seed=seed) for seed in range(10)])
        gains[method] = np.array([ToyJudge.strength(search.best.text) - seed_strength for search in searches])
    assert gains["strategist"].min() > 0.5
    assert gains["strategist"].mean() > gains["line"].mean() + 0.5


def test_seeds_are_given_or_written():
    given = Strategy(7, "heuristic", ToyLibrary().render((0, 1, 1, 0, 0, 0)), parent=3, score=9.0, games=1)
    (search,) = run([search_job("it", SMALL, MODEL, seeds=[given, given])])
    assert [child.parent for child in search.tree][:2] == [None, None]
    assert search.tree[0].text == given.text
    with pytest.raises(ValueError, match=r"seed cannot be played \(SyntaxError"):
        run([search_job("it", SMALL, MODEL, seeds=[dataclasses.replace(given, text="BROKEN")])])
    with pytest.raises(ValueError, match="no first strategy could be written"):
        one(SMALL, MODEL, model=ScriptedModel(lambda role, prompt, rng: "I would rather not."))


def test_guides_are_strategies_too():
    def write(role, prompt, rng):
        if role in ("conclusions", "ideas"):
            return "1. Ask who lies."
        assert "python" not in prompt
        return f"```\n1. Who lies {rng.integers(1000)}?\n```"

    class Scorer(ToyJudge):
        def check(self, texts):
            return ["" if text.startswith("1. Who") else "no question" for text in texts]

    proposer = LanguageModelProposer(Brief(GUIDE, "a worksheet for Merlin"))
    journal = services(Scorer())
    (outcome,) = run_lockstep([search_job("it", SMALL, proposer, kind="guide")], ScriptedModel(write), journal)
    assert outcome.error is None
    assert len(outcome.value.tree) == 9
    assert {one.kind for one in outcome.value.tree} == {"guide"}
    assert [idea.text for idea in outcome.value.queue.ideas] == ["Ask who lies."]  # the second time it is known


def test_judges_have_names_and_may_take_all_rounds_at_once():
    class Batch(ToyJudge):
        calls = 0

        def judge_rounds(self, rounds):
            self.calls += 1
            return [ToyJudge.judge(self, one.strategies, one.path) for one in rounds]

        def judge(self, strategies, path):
            raise AssertionError

    batch, plain = Batch(), ToyJudge()
    jobs = [search_job(f"{n}{seed}", SMALL, GRAMMAR, seed=seed, judge=n) for n in ("a", "b") for seed in range(3)]
    searches = run(jobs, {"a": batch, "b": plain})
    assert searches[:3] == searches[3:]
    assert (batch.calls, len(plain.judged), len(batch.judged)) == (3, 9, 9)


# What goes wrong.


def nonsense(role, prompt, rng):
    """A model that answers every fifth call, or so, as it should."""
    odd = [
        "",
        "No.",
        "```python\nBROKEN def evaluate_state\n```",
        "1.",
        ("```python\ndef evaluate_state", "length"),
        "💥" * 99,
    ]
    if "Write the first" in prompt or rng.random() < 0.2:
        return sensible(role, prompt, rng)
    return odd[rng.integers(len(odd))]


@pytest.mark.parametrize("method", ["strategist", "line", "best-first-thought"])
def test_nonsense_is_a_failed_idea_and_the_loop_goes_on(method):
    config = EvolveConfig(method=method, strategies=16, rounds=4, repairs=2)
    journal = Journal()
    (search,) = run([search_job("it", config, MODEL, journal=journal)], model=ScriptedModel(nonsense), journal=journal)
    assert search.round == 4
    assert search.tree.dropped
    for attempt in search.tree.dropped:
        assert 1 <= len(attempt.failures) <= 3
        assert all(failure and "\n" not in failure for failure in attempt.failures)
    events = Counter(event["event"] for event in journal.events("it"))
    assert events["dropped"] == len(search.tree.dropped)
    mended = [
        child for child in search.tree if child.failures and child.text != getattr(parent_of(search, child), "text", "")
    ]
    fails = sum(len(a.failures) for a in search.tree.dropped) + sum(len(child.failures) for child in mended)
    assert events["failure"] == fails
    if method == "line":
        assert len(search.tree) == 17 - (16 - len(list(search.tree)[1:]))
        copies = [child for child in search.tree if child.parent is not None and child.idea is None]
        assert copies
        assert all(child.text == search.tree[child.parent].text for child in copies)


def parent_of(search, child):
    return None if child.parent is None else search.tree[child.parent]


def test_repairs_are_asked_for_with_the_failure_up_to_the_limit():
    def stubborn(role, prompt, rng):
        return sensible("implement", prompt, rng) if "Write the first" in prompt else "```python\nBROKEN\n```"

    model = ScriptedModel(stubborn)
    one(EvolveConfig(strategies=1, rounds=1, repairs=8), MODEL, model=model)
    repairs = [request for request in model.requests if request.role == "repair"]
    assert len(repairs) == 8
    assert len({request.path for request in repairs}) == 8
    assert all("SyntaxError at line 1" in request.prefix[1].content for request in repairs)


def test_an_unchanged_text_goes_back():
    def lazy(role, prompt, rng):
        return sensible(role, prompt, rng) if role == "seed" else "```python\n" + ToyLibrary().render((0,) * 6) + "```"

    config = EvolveConfig(strategies=1, rounds=1, repairs=1)
    search = one(config, MODEL, model=ScriptedModel(lazy))
    copies = one(dataclasses.replace(config, method="line", strategies=2, rounds=2), MODEL, model=ScriptedModel(lazy))
    assert search.tree[1].failures == ()
    assert any("nothing was changed" in line for a in copies.tree.dropped for line in a.failures)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_always_says_the_same_still_makes_its_strategies(method):
    """One idea where more were asked for is carried out again, so that methods stay at equal numbers."""
    code = "```python\n" + ToyLibrary().render((0, 1, 0, 0, 0, 0)) + "```"
    model = ScriptedModel(lambda role, prompt, rng: code if role in ("seed", "implement", "follow") else "1. Do this.")
    config = dataclasses.replace(SMALL, method=method, refuse_copies=False)
    search = one(config, MODEL, model=model)
    assert search.cost.strategies == 8
    assert len({child.text for child in search.tree}) == 1
    assert all(idea.pending == 0 for idea in search.queue.ideas)
    refused = one(dataclasses.replace(config, refuse_copies=True), MODEL, model=model)
    assert refused.is_done
    assert all("nothing was changed" in attempt.failures[0] for attempt in refused.tree.dropped)


class Odd(ToyJudge):
    """Says of every third strategy that its games have no score."""

    def judge(self, strategies, path):
        said = super().judge(strategies, path)
        scores = tuple(float("nan") if s.id % 3 == 2 else x for s, x in zip(strategies, said.scores, strict=True))
        return said._replace(scores=scores, improvements=(None,) * len(scores))


def test_scores_that_are_no_numbers_leave_a_strategy_unplayed():
    search = one(SMALL, GRAMMAR, judge=Odd())
    unplayed = [child.id for child in search.tree if child.games == 0]
    assert unplayed == [number for number in range(len(search.tree)) if number % 3 == 2]
    assert not {child.parent for child in search.tree} & set(unplayed)
    assert search.cost.strategies == len(search.tree) - 1 - len(unplayed)
    assert all(np.isfinite(idea.mean) for idea in search.queue.ideas)


def test_a_judge_that_miscounts_is_told():
    class Short(ToyJudge):
        def judge(self, strategies, path):
            return Judgement((), (), (), ())

        def check(self, texts):
            return []

    with pytest.raises(ValueError, match="a judgement of 1 strategies must have 1"):
        one(judge=Short())
    with pytest.raises(ValueError, match="it must give a line for each"):
        one(proposer=MODEL, judge=Short())


@pytest.mark.parametrize("limit", [{"samples": 9}, {"output_tokens": 300}, {"verifier_calls": 5}, {"samples": 13}])
def test_the_end_of_a_budget_keeps_what_was_finished(limit):
    (outcome,) = run_lockstep(
        [search_job("it", SMALL, MODEL, budget=Budget(**limit))], ScriptedModel(sensible), services(ToyJudge())
    )
    search, whole = outcome.value, one(SMALL, MODEL)
    assert outcome.error is None
    assert "is spent" in search.stopped
    assert 0 < len(search.tree) < len(whole.tree) or search.round < 2
    assert all(idea.pending == 0 for idea in search.queue.ideas)
    shared = [child for child in search.tree if search.tree.born[child.id] == 0]
    assert shared[0].text == whole.tree[0].text
    for name, most in limit.items():
        assert getattr(outcome.ledger.total, name) <= most


# Resuming, in one process; see test_evolve_killed for real ends.


class Mortal:
    """Counts the calls of a model and a judge, and dies at one of them."""

    def __init__(self, dies):
        self.left = dies

    def __call__(self, function):
        def call(*args):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return function(*args)

        return call


def test_interrupted_at_every_call_it_resumes_and_pays_nothing_twice(tmp_path):
    config = EvolveConfig(strategies=4, rounds=2, repairs=1)

    def go(name, dies, model, judge):
        mortal = Mortal(dies)
        model.sample, judge.judge, judge.check = mortal(model.sample), mortal(judge.judge), mortal(judge.check)
        with Recording(tmp_path / f"{name}.draws") as draws, Journal(tmp_path / f"{name}.journal") as journal:
            return run([search_job("it", config, MODEL, journal=journal)], judge, Recorder(model, draws), journal)[0]

    whole_model, whole_judge = ScriptedModel(nonsense), ToyJudge()
    whole = go("whole", -1, whole_model, whole_judge)
    calls = len(whole_model.batches) + len(whole_judge.judged) + len(whole_judge.checked)
    for dies in range(1, 100):
        paths, judged, checked = [], [], []
        search = None
        while search is None:  # the first run dies after `dies` calls, the next ones after as many new calls
            model, judge = ScriptedModel(nonsense), ToyJudge()
            with contextlib.suppress(KeyboardInterrupt):
                search = go(f"parts-{dies}", dies, model, judge)
            paths += [request.path for request in model.requests]
            judged += judge.judged
            checked += judge.checked
        assert search == whole
        assert Counter(paths) == Counter(request.path for request in whole_model.requests)
        assert (sorted(judged), sorted(checked)) == (sorted(whole_judge.judged), sorted(whole_judge.checked))
        whole_lines, lines = (
            sorted((tmp_path / f"{n}.journal").read_text().splitlines()) for n in ("whole", f"parts-{dies}")
        )
        assert lines == whole_lines
        if dies > calls:
            break
    else:
        raise AssertionError


def test_replays_need_neither_model_nor_judge(tmp_path):
    class Nobody:
        identity = ToyJudge.identity

        def judge(self, strategies, path):
            raise AssertionError

        check = judge_rounds = judge

    with Recording(tmp_path / "draws") as draws, Journal(tmp_path / "journal") as journal:
        model = Recorder(ScriptedModel(sensible), draws)
        (whole,) = run([search_job("it", SMALL, MODEL, journal=journal)], model=model, journal=journal)
    with (
        Recording(tmp_path / "draws", read_only=True) as draws,
        Journal(tmp_path / "journal", read_only=True) as journal,
    ):
        jobs = [search_job("it", SMALL, MODEL, journal=journal)]
        assert run(jobs, Nobody(), ReplaySampler(draws), journal) == [whole]
        known = journal.proposals("it")
        replay = run([search_job("other", SMALL, ReplayProposer(known))], journal=journal)
        assert replay[0].tree == whole.tree
        assert replay[0].cost.output_tokens == 0
        del known["ideas", (0, 1, 0)]
        with pytest.raises(ValueError, match="no ideas proposal"):
            run([search_job("other", SMALL, ReplayProposer(known))])


def test_a_journal_of_another_config_is_refused(tmp_path):
    for turn, config in enumerate([SMALL, dataclasses.replace(SMALL, temperature=0.0)]):
        with Journal(tmp_path / "journal") as journal:
            jobs = [search_job("it", config, GRAMMAR, journal=journal)]
            if turn == 0:
                run(jobs, journal=journal)
            else:
                with pytest.raises(ValueError, match="another config or version"):
                    run(jobs, journal=journal)


def test_journals_survive_torn_lines_and_refuse_damage(tmp_path):
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.put("check", {"a": ""})
        journal.log("job")("first", x=1.5)
        with pytest.raises(ValueError, match="in use by another process"):
            Journal(path)
    whole = path.read_bytes()
    for damaged in (whole + b'{"kind": "che', whole[:-1]):  # half a line more, and one that lacks only its end
        path.write_bytes(damaged)
        with Journal(path) as journal:
            assert journal.get("check", "a") == ""
            assert journal.events("job") == [{"event": "first", "x": 1.5}]
        assert path.read_bytes() == whole
    path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(ValueError, match="line 1 is damaged"):
        Journal(path)
    with pytest.raises(ValueError, match="cannot open"):
        Journal(tmp_path / "nowhere", read_only=True)
    assert json.loads(whole.splitlines()[1])["number"] == 0


def test_a_model_that_fails_ends_the_job_and_not_the_others():
    class Gone(ScriptedModel):
        def _reply(self, request):
            if request.path[0] == 1 and request.role == "ideas":
                return Reply((), Usage(), Usage(), "the server is gone")
            return super()._reply(request)

    jobs = [search_job(f"{seed}", SMALL, MODEL, seed=seed) for seed in (0, 1)]
    good, bad = run_lockstep(jobs, Gone(sensible), services(ToyJudge()))
    assert isinstance(bad.error, SamplerFailedError)
    assert good.value == one(SMALL, MODEL)
