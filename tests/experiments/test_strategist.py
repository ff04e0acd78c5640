"""The Strategist experiment at its smallest: killed and resumed, what its tables say, its judge, a language model."""

import csv
import dataclasses
import json
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from fixtures.fake_server import FakeServer
from fixtures.mortal_command import run_command

from jaxrl_suite.core import stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.evolve import evolve
from jaxrl_suite.evolve.journal import Journal, services
from jaxrl_suite.evolve.records import Judgement, KeyState, Strategy
from jaxrl_suite.experiments.strategist import experiment as strategist
from jaxrl_suite.experiments.strategist import final as _strategist_final
from jaxrl_suite.experiments.strategist import learners as _strategist_learners
from jaxrl_suite.experiments.strategist import report as _strategist_report
from jaxrl_suite.experiments.strategist import search as searching
from jaxrl_suite.experiments.strategist import variants as _strategist_variants
from jaxrl_suite.experiments.strategist.final import Final
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.strategist.heuristics.libraries import library

SMALL = (
    "run strategist --resume --gops.num-cards 3 --search.rounds 2 --batch-size 24 --search.key-states 4 "
    "--exact.budgets --variants.feedbacks --gops.episodes --out {name} --methods {methods} "
    "--search.strategies {strategies} --gops.round-games {games} --gops.num-simulations 4 --gops.deals {deals} {more}"
)
GRAMMAR = dict(methods="line strategist", strategies=4, games=48, deals=6, more="--seeds 0 1")
FILES = ("tables", "figures", "strategies")


def run(folder, name, dies="", dies_after="", **options):
    line = SMALL.format(name=name, **(options or GRAMMAR))
    return run_command(folder, line, dies=dies, DIES_AFTER=dies_after or "0")


PARTS = {field.name: field.default for field in dataclasses.fields(strategist.Config)}


def config_of(**options):
    """A config with fields of its parts written as PART__FIELD."""
    parts = {}
    for name, value in options.items():
        part, _, field = name.rpartition("__")
        parts.setdefault(part, {})[field] = value
    top = parts.pop("", {})
    return strategist.Config(**top, **{name: dataclasses.replace(PARTS[name], **new) for name, new in parts.items()})


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for kind in FILES for path in sorted((folder / kind).iterdir())]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strategist")
    done = run(folder, "whole")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.tier2
def test_killed_in_a_search_and_in_the_evaluation_is_as_if_never_stopped(folder):
    for moment in ("search-gops-1", "final-gops-1"):
        done = run(folder, "parts", dies=moment)
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(folder, "parts")
    assert done.returncode == 0, done.stderr
    assert "fresh games: continues at 1/2" in done.stderr
    whole, parts = folder / "whole", folder / "parts"
    assert contents(whole) == contents(parts)
    for name in ("metrics.jsonl", "journal-gops.jsonl"):
        assert sorted((whole / name).read_text().splitlines()) == sorted((parts / name).read_text().splitlines())
    claims = [json.loads((one / "results.json").read_text())["claims"] for one in (whole, parts)]
    assert claims[0] == claims[1]


@pytest.mark.tier2
def test_budgets_are_equal_and_the_seed_gains_nothing(folder):
    budgets = read(folder / "whole", "budgets_gops")
    assert [row["search"] for row in budgets] == ["line", "strategist", "shuffled states", "shuffled scores"]
    for row in budgets:
        assert float(row["strategies"]) + float(row["dropped"]) >= 4
    whole = [row for row in budgets if float(row["dropped"]) == 0]
    assert len({row["games"] for row in whole}) <= 1
    curve = read(folder / "whole", "curve_gops")
    assert all(float(row["gain"]) == 0 for row in curve if row["strategies"] == "0")
    methods = read(folder / "whole", "methods_gops")
    assert sum(float(row["against_others"]) for row in methods) == pytest.approx(0, abs=1e-9)  # zero-sum
    assert all("at_equal_calls" in row and float(row["elo_low"]) <= float(row["elo"]) for row in methods)
    last = {row["method"]: float(row["gain"]) for row in curve if row["strategies"] == "4"}
    assert {row["method"]: float(row["over_seed"]) for row in methods} == pytest.approx(last)


@pytest.mark.tier2
def test_small_runs_give_no_verdict(folder):
    claims = json.loads((folder / "whole" / "results.json").read_text())["claims"]
    assert {claim["id"]: claim["verdict"] for claim in claims} == {
        "strat-1": "not comparable",
        "strat-12": "not comparable",
    }


@pytest.mark.tier2
def test_the_lineage_leads_from_the_seed_to_the_file(folder):
    rows = read(folder / "whole", "lineage_gops")
    assert rows[0]["idea"] == "(the seed)"
    assert [int(row["strategy"]) for row in rows] == sorted(int(row["strategy"]) for row in rows)
    sources = [path.read_text() for path in (folder / "whole" / "strategies").iterdir()]
    assert len(sources) == 4
    assert all("def evaluate_state(view):" in source for source in sources)


# The judge of a round.


class Numbers:
    """Gives every strategy its number as a score."""

    identity = "numbers"

    def judge(self, strategies, path, games=None):
        count = len(strategies)
        return Judgement(tuple(float(one.id) for one in strategies), (games,) * count, (0.5,) * count, ())

    def check(self, texts):
        return [""] * len(texts)


@pytest.mark.parametrize(("method", "games"), [("strategist", 480), ("greedy", 480), ("line", 120)])
def test_every_round_costs_the_same_games(method, games):
    """Of a method that judges each strategy as it comes, every step has its part of the round's."""
    config = strategist.Config()
    (arm,) = (one for one in searching.arms_of(config, "gops") if one.name == method)
    judge = SimpleNamespace(zero_sum=True, library=library(Gops(3, objective="points")))
    setup = searching._setup(config, judge, arm, 0, Journal().log("it"))
    job = Job("it", lambda ledger: evolve(setup, ledger, [searching.seed_strategy(config, judge)]))
    (outcome,) = run_lockstep([job], {}, services({setup.judge: Numbers()}))
    assert outcome.error is None
    assert [one.games for one in outcome.value.tree.played if one.round == 0] == [120]
    assert {one.games for one in outcome.value.tree.played if one.round} == {games}


def test_a_judge_with_shuffled_scores_deals_them_out_at_random():
    judge = searching.ShuffledScores(Numbers())
    strategies = [Strategy(number, "heuristic", "") for number in range(6)]
    said = [judge.judge(strategies, (seed, 1, 0)) for seed in range(4)]
    assert all(sorted(one.scores) == list(range(6)) for one in said)
    assert len({one.scores for one in said}) > 1
    assert said[0].improvements == (None,) * 6
    assert judge.identity != Numbers.identity


def test_shuffled_states_keep_the_gaps_and_part_them_from_the_states():
    rng = np.random.default_rng(0)
    states = [
        KeyState(0, str(i), tuple(rng.normal(size=2)), {}, tuple(rng.normal(size=2)), (0.0, 0.0)) for i in range(8)
    ]
    seen = []

    class Base:
        def conclusions(self, strategy, states, path):
            seen.extend(states)

    class Both(searching._Shuffled, Base):
        pass

    Both().conclusions(Strategy(0, "heuristic", ""), states, (3, 1, 0))
    before, after = ([np.subtract(one.search, one.heuristic) for one in some] for some in (states, seen))
    assert [one.state for one in seen] == [one.state for one in states]
    np.testing.assert_allclose(sorted(map(tuple, before)), sorted(map(tuple, after)), atol=1e-12)
    assert not np.allclose(before, after)


# What reports say.


class Noted:
    """A run that keeps what it is told."""

    def __init__(self):
        self.results, self.captions, self.texts, self.rows = {}, {}, [], {}

    def result(self, claim, score, **told):
        self.results[claim] = told

    def table(self, name, rows, *columns, caption=""):
        self.captions[name], self.rows[name] = caption, rows

    def text(self, body, title=""):
        self.texts.append(body)


@pytest.mark.parametrize(
    ("learner", "verdict"), [(0.2, "not comparable"), (0.52, "held"), (0.62, "not held"), (0.9, "not held")]
)
def test_to_beat_a_learner_that_is_worse_than_naive_bots_decides_nothing(learner, verdict):
    config, run, title = config_of(avalon__episodes=(640,)), Noted(), "Avalon-5"
    names = ["seed heuristic", "strategist", "AlphaZero-style, 640 episodes", "DeepRole, 640 episodes"]
    rates = np.array([0.4, 0.62, 0.56, learner]) + np.linspace(-0.01, 0.01, 5)[:, None]
    rates[:, 1] += np.linspace(0.01, -0.01, 5)
    _strategist_learners.write_avalon(config, run, title, names, rates)  # pyright: ignore[reportArgumentType]
    assert run.results["strat-5"]["verdict"] == "held"
    assert run.results["strat-6"]["verdict"] == verdict
    weak = verdict == "not comparable"
    assert ("too weak as trained" in run.results["strat-6"]["note"]) == weak
    assert ("worth a win: DeepRole, 640 episodes." in run.captions["learners_avalon"]) == weak


@pytest.mark.parametrize(
    ("episodes", "shown", "verdict"),
    [((320,), 320, "not comparable"), ((320, 2400, 4800), 2400, "held"), ((9600, 320), 9600, "not held")],
)
def test_learners_are_given_no_fewer_episodes_than_the_search_plays_games(episodes, shown, verdict):
    """The fair one is beaten at 320 and 2,400 episodes, and not at more."""
    config, run = config_of(gops__episodes=episodes), Noted()
    title = "GOPS-6"
    ahead = np.array([1.0 if count < 4000 else -1.0 for count in sorted(episodes)])
    scores = np.broadcast_to(ahead, (5, 2, len(episodes))) + np.linspace(-0.1, 0.1, 5)[:, None, None]
    _strategist_learners.write_gops(config, run, title, scores)  # pyright: ignore[reportArgumentType]
    said = run.results["strat-4"]
    assert said["verdict"] == verdict
    assert f"{shown} episodes" in said["scale"]
    assert ("A search plays 2400 games" in said["note"]) == (verdict == "not comparable")


def test_learners_and_the_deals_that_they_are_judged_on_share_no_key():
    used = []

    def note(key):
        used.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
        return SimpleNamespace(params=None)

    learner = _strategist_learners.GopsLearner(note, lambda state, key: None, 32)
    for seed in range(4):
        note(jax.random.fold_in(jax.random.key(_strategist_learners.FRESH), seed))
        _strategist_learners.snapshots((96,), learner, lambda state, key: (note(key), 0.0), seed)
    assert len(used) == len(set(used)) == 4 * (1 + 1 + 3)


@pytest.mark.parametrize(
    ("seeds", "gains", "said"),
    [
        ((0,), [0.5], "one seed; 128 fresh deals each, in both seats). One seed has no interval."),
        ((0, 1), [0.5, 0.6], "95 % over 2 seeds"),
        ((0, 1), [-0.5, -0.6], "does not beat the seed heuristic: -0.55"),
    ],
)
def test_the_headline_claims_no_more_than_was_measured(seeds, gains, said):
    config, run, title = strategist.Config(seeds=seeds), Noted(), "GOPS-6"
    final = Final(np.array(gains)[:, None, None], np.zeros((len(seeds), 1, 1)), np.zeros((len(seeds), 1)))
    _strategist_report.write_headline(config, run, "gops", title, ["strategist"], final)  # pyright: ignore[reportArgumentType]
    assert said in run.texts[0]


def test_elo_above_the_seed_heuristic():
    """Two methods found the same; it had more than the seed on three deals of four. The third found the seed itself."""
    payoff = np.zeros((3, 3, 400))
    payoff[1, 0] = np.tile([1.0, 2.0, 0.5, -1.0], 100)
    payoff[0, 1] = -payoff[1, 0]
    rated = _strategist_final.elo_of(payoff, [1, 1, 0], zero_sum=True)
    points = 400 * np.log10((300 + 0.5) / (100 + 0.5))  # the prior is half a win for each
    np.testing.assert_allclose(rated, [points, points, 0], atol=1e-6)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_one_seed_is_not_sure_of_anything(seeds):
    config, run, title = strategist.Config(seeds=seeds), Noted(), "GOPS-6"
    ahead = stats.mean_or_value(np.linspace(0.9, 1.0, len(seeds)))
    _strategist_report.give_ranking(config, run, "gops", title, ahead, {"line": ahead})  # pyright: ignore[reportArgumentType]
    note = run.results["strat-1"]["note"]
    assert ("surely beats line" in note) == (len(seeds) > 1)
    assert ("One seed has no interval." in note) == (len(seeds) == 1)


@pytest.mark.parametrize(("preset", "rules"), [("quick", 6), ("paper", 0)])
@pytest.mark.parametrize("game", ["gops", "avalon"])
def test_differences_from_the_published_search_are_differences(preset, rules, game):
    config, run = strategist.PRESETS[preset], Noted()
    arms = searching.arms_of(config, game)
    _strategist_variants.write_differences(
        config, run, game, [arm.name for arm in arms], Final(*[np.zeros(0)] * 3), SimpleNamespace(arms=arms)
    )  # pyright: ignore[reportCallIssue]
    rows = run.rows[f"differences_{game}"]
    assert all(row["here"] != row["published"] and row["what_it_changes"] for row in rows)
    shown = [row["what"] for row in rows]
    assert shown.index("search in GOPS" if game == "gops" else "search in Avalon") == rules
    assert ("games of a round in GOPS" in shown) == (preset == "quick" and game == "gops")


# Exact opponents.


def exact_run(folder, **changes):
    config = config_of(
        seeds=(4, 5), batch_size=32, methods=("line", "strategist"), gops__num_cards=3, gops__num_simulations=2,
        exact__methods=("line", "strategist"), exact__budgets=(2, 3), exact__deals=8, exact__policy_samples=1,
        exact__small_cards=2, **changes,
    )  # fmt: skip
    weights = dict(zip(("line", "strategist"), np.eye(20)[[1, 0]].tolist(), strict=True))
    found = {
        method: [SimpleNamespace(best=Strategy(0, "heuristic", "text", weights=tuple(row)))] * 2
        for method, row in weights.items()
    }
    with Run.start(folder, name="exact", config=config) as run, searching.judge_of(config, "gops", run) as judge:
        exact = _strategist_final.play_exact(config, run, judge, SimpleNamespace(found=found))  # pyright: ignore
        _strategist_report.write_exact(config, run, judge.title, exact)
    return exact


@pytest.mark.tier2
def test_seeds_have_decks_of_their_own_against_exact_play_and_share_them_with_the_seed_heuristic(tmp_path):
    """Else intervals over seeds would not know of the luck of the draw. What "strategist" found here is the seed."""
    exact = exact_run(tmp_path / "run")
    assert exact.names == ["seed heuristic 4", "seed heuristic 5", "line 4", "line 5", "strategist 4", "strategist 5"]
    np.testing.assert_array_equal(exact.nash[:, :2], exact.nash[:, 4:])
    assert (exact.nash[:, 0] != exact.nash[:, 1]).all()
    assert exact.exploitability.shape == (2, 6)
    np.testing.assert_array_equal(exact.exploitability[:, 0], exact.exploitability[:, 5])
    rows = read(tmp_path / "run", "exact")
    assert [row["strategies_of"] for row in rows[::2]] == ["seed heuristic", "line", "strategist"]
    for row in rows:
        assert float(row["return_low"]) < float(row["return"]) < float(row["return_high"])


# A language model.

GOOD = library(Gops(3, objective="points")).render([0.5 + 0.1 * i for i in range(20)])
ODD = (
    "I am sorry, Dave.",
    "```python\ndef evaluate_state(view:\n    return 1\n```",
    "```python\ndef evaluate_state(view):\n    return view.scores / 0 * 0, {}\n```",
    "```python\ndef evaluate_state(view):\n    return view.scores[0], {}\n```",
    "",
)


class OddServer(FakeServer):
    """Ideas are numbered; number 0 is carried out well, each of the others is answered with one kind of nonsense."""

    odd = ODD

    def reply(self, number, received):
        data = super().reply(number, received)
        prompt = received.body["messages"][-1]["content"]
        if "Give " in prompt:
            known = prompt.count("- Do number")
            text = "\n".join(f"{i}. Do number {known + i}." for i in range(3))
        elif "Write no code" in prompt:
            text = "It sees too little."
        elif "Do number 0" in prompt:
            text = f"```python\n{GOOD}```"
        else:
            kind = next((i for i in range(len(self.odd)) if f"Do number {i + 1}." in prompt), 0)
            text = self.odd[kind]
        data["choices"][0]["message"]["content"] = text
        return data


def options(server, strategies):
    model = f"--proposer openai --base-url {server.base_url} --model fake"
    more = f"--seeds 0 --variants.controls no --search.repairs 1 {model}"
    return dict(methods="strategist", strategies=strategies, games=20, deals=2, more=more)


def asked(server):
    counted = Counter(json.dumps(received.body, sort_keys=True) for received in server.requests)
    server.requests.clear()
    return counted


@pytest.mark.tier2
def test_every_kind_of_bad_answer_is_a_failed_idea_and_a_killed_run_pays_for_nothing_twice(tmp_path):
    with OddServer() as server:
        given = options(server, 6)
        done = run(tmp_path, "whole", **given)
        assert done.returncode == 0, done.stderr
        paid = asked(server)
        assert max(paid.values()) == 1
        journal = (tmp_path / "whole" / "journal-gops.jsonl").read_text().splitlines()
        events = [line["data"] for line in map(json.loads, journal) if line["kind"] == "event"]
        dropped = [event for event in events if event["event"] == "dropped"]
        assert len(dropped) == len(ODD)
        assert all(len(event["failures"]) == 2 for event in dropped)  # the first text, and its mend
        assert [event["id"] for event in events if event["event"] == "strategy"] == [0, 1]
        ledger = {row["role"]: row for row in read(tmp_path / "whole", "ledger_gops")}
        assert int(ledger["implement"]["requests"]) == 6
        assert int(ledger["repair"]["requests"]) == len(ODD)
        for after in ("3", "9"):
            done = run(tmp_path, "parts", dies_after=after, **given)
            assert done.returncode == -signal.SIGKILL, done.stderr
        done = run(tmp_path, "parts", **given)
        assert done.returncode == 0, done.stderr
        assert asked(server) == paid
        assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
        more = f"--seeds 0 --variants.controls no --search.repairs 1 --proposer replay --recording {tmp_path / 'whole'}"
        done = run(tmp_path, "again", **given | dict(more=more))
        assert done.returncode == 0, done.stderr
        assert not asked(server)
        assert contents(tmp_path / "whole") == contents(tmp_path / "again")


class EndlessServer(OddServer):
    odd = ("```python\ndef evaluate_state(view):\n    while True:\n        pass\n```", *ODD)


@pytest.mark.tier2
def test_killed_at_every_call_it_pays_for_nothing_twice(tmp_path):
    with EndlessServer() as server:
        given = options(server, 2)
        assert run(tmp_path, "whole", **given).returncode == 0
        paid = asked(server)
        deaths = 0
        while (done := run(tmp_path, "parts", dies_after="1", **given)).returncode == -signal.SIGKILL:
            deaths += 1
            assert deaths < 60
        assert done.returncode == 0, done.stderr
        assert deaths >= len(paid)
        assert asked(server) == paid
        assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


# What cannot be run.


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(search__strategies=7), "rounds must divide the 7"),
        (dict(seeds=(1, 1)), "none twice"),
        (dict(exact__small_cards=7), "small_cards must be 2 to 5"),
        (dict(exact__budgets=(16, 16)), "budgets must have no value twice"),
        (dict(methods=("line",)), "exact.methods has strategist"),
        (dict(methods=("line",), exact__methods=()), "compare with strategist"),
        (dict(proposer="openai"), "needs --base-url"),
        (dict(proposer="openai", base_url="http://me:secret@host/v1", model="m"), "keep keys in the environment"),
        (dict(proposer="openai", base_url="http://127.0.0.1:1/v1"), "model is empty"),
        (dict(model="gpt"), "model is for --proposer openai"),
        (dict(proposer="replay"), "--recording"),
        (dict(recording="somewhere"), "recording is for --proposer replay"),
        (dict(avalon__num_simulations=5), "num_simulations must be 10"),
        (
            dict(search__rounds=1, gops__round_games=400),
            "at least 462, .* 22 strategies .*strategist",
        ),
        (dict(methods=("strategist", "strategist-bandit"), mechanics="paper", gops__round_games=32), "at least 56"),
        (
            dict(methods=("line", "strategist"), search__rounds=1, games=("avalon",)),
            "avalon.round_games must be at least 462",
        ),
    ],
)
def test_refuses_what_cannot_be_run(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        config_of(**bad)
    assert "\n" not in str(caught.value)


def test_presets_ask_for_enough_seeds_and_even_games():
    for config in strategist.PRESETS.values():
        assert len(config.seeds) >= 5
        assert config.search.strategies // config.search.rounds == 4
        assert config.gops.num_cards == 6
        assert config.mechanics == "paper" or config.gops.round_games % 120 == 0
