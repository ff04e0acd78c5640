"""The dialogue experiment at its smallest: talk without a model, guides from a server, killed, resumed, replayed."""

import csv
import json
import re
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fixtures.fake_server import FakeServer
from fixtures.mortal_command import run_command

from jaxrl_suite.avalonbench.cheap_talk.policies import babbling, simple
from jaxrl_suite.avalonbench.dialogue.guides import Guide, seed_guide
from jaxrl_suite.experiments.avalon_dialogue import experiment as avalon_dialogue
from jaxrl_suite.experiments.avalon_dialogue import guides, guides_report, talk, talk_report
from jaxrl_suite.experiments.avalon_dialogue.config import SearchConfig, TalkConfig
from jaxrl_suite.llm.protocol import Usage

TALK = (
    "run avalon_dialogue --resume --seeds 0 1 --learning.updates 4 --learning.points 2 --learning.batch-size 4 "
    "--learning.deals 8 --learning.games 4 --out {name}"
)
GUIDES = (
    "run avalon_dialogue --resume --talk no --seeds {seeds} --search.roles minion --search.methods line strategist "
    "--search.strategies 4 --search.rounds 2 --search.repairs 1 --search.speeches 8 --search.scenarios 2 "
    "--search.held-out 2 --out {name} {more}"
)


def run(folder, name, more="", seeds="0", dies="", dies_after="0"):
    line = (GUIDES if more else TALK).format(name=name, more=more, seeds=seeds)
    return run_command(folder, line, dies=dies, DIES_AFTER=dies_after)


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def claims(folder: Path) -> dict[str, dict]:
    return {claim["id"]: claim for claim in json.loads((folder / "results.json").read_text())["claims"]}


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for kind in ("tables", "figures", "guides") for path in sorted((folder / kind).glob("*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# A server that writes, speaks and rates.


class Player(FakeServer):
    """Ideas are numbered. Number 1 adds a question that makes each speech believed; number 2 makes no worksheet."""

    def reply(self, number, received):
        data = super().reply(number, received)
        prompt = "\n".join(message["content"] for message in received.body["messages"])
        data["choices"][0]["message"]["content"] = self.say(prompt)
        return data

    def say(self, prompt):
        if "Judge the last speech" in prompt:
            evil = -2 if "WHOM DO THEY TRUST" in prompt else 0
            return "\n".join(f"player {seat}: evil {evil}, merlin 0" for seat in range(5))
        if "Fill in this worksheet" in prompt:
            return "WHOM DO THEY TRUST" if "Whom do they trust?" in prompt else "hm"
        if "Write no worksheet" in prompt:
            return "It asks too little."
        if "Give " in prompt:
            known = prompt.count("- Do number")
            return "\n".join(f"{place + 1}. Do number {known + place}." for place in range(3))
        if "Do number 2." in prompt or "I had rather not." in prompt:
            return "I had rather not."
        sheet = re.findall(r"```\n(.*?)```", prompt, re.DOTALL)[0].strip()
        count = len(Guide.parse("minion", sheet).questions)
        added = "Whom do they trust?" if "Do number 1." in prompt else f"Is it raining on {prompt.count('?')}?"
        return f"```\n{sheet}\n{count + 1}. {added}\n```"


class Babbler(FakeServer):
    """Says the same nonsense to all questions."""

    def __init__(self):
        super().__init__(words="evil merlin 0 0")


def served(server, model="fake"):
    return f"--proposer openai --base-url {server.base_url} --model {model}"


def asked(server):
    counted = Counter(json.dumps(received.body, sort_keys=True) for received in server.requests)
    server.requests.clear()
    return counted


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A folder with a whole run, and what it asked of the server."""
    folder = tmp_path_factory.mktemp("dialogue")
    with Player() as server:
        done = run(folder, "whole", served(server), seeds="0 1")
        assert done.returncode == 0, done.stderr
        yield folder, server, asked(server)


@pytest.mark.tier2
def test_guides_are_found_and_compared_with_the_seed_guide(played):
    folder, _, paid = played
    rows = {row["method"]: row for row in read(folder / "whole", "guides")}
    assert set(rows) == {"line", "strategist"}
    for row in rows.values():
        assert float(row["seed_guide"]) == 0
        assert float(row["gain"]) == pytest.approx(float(row["score"]))
        assert float(row["unread"]) == 0
    assert float(rows["strategist"]["gain"]) == 2  # the most there is
    found = (folder / "whole" / "guides" / "minion-strategist-0.txt").read_text()
    assert "Whom do they trust?" in found
    assert [row["best_guide"] for row in read(folder / "whole", "worksheet_minion")][-1]
    speeches = read(folder / "whole", "speeches_minion")
    assert [(row["guide"], float(row["score"])) for row in speeches] == [("seed guide", 0), ("best guide", 2)]
    ledger = {row["call"]: int(row["requests"]) for row in read(folder / "whole", "ledger")}
    assert sum(ledger.values()) == sum(paid.values())
    claim = claims(folder / "whole")["strat-3"]
    assert claim["verdict"] == "not comparable"  # two seeds
    assert claim["measured"].startswith("Minion +2.00")


@pytest.mark.tier2
def test_a_killed_run_pays_for_nothing_twice_and_is_as_if_never_stopped(played):
    folder, server, paid = played
    for death in (dict(dies="search-minion-1"), dict(dies="final-minion-0")):
        done = run(folder, "parts", served(server), seeds="0 1", **death)
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(folder, "parts", served(server), seeds="0 1")
    assert done.returncode == 0, done.stderr
    assert asked(server) == paid
    assert contents(folder / "whole") == contents(folder / "parts")
    assert claims(folder / "whole") == claims(folder / "parts")
    names = ("metrics.jsonl", "journal-minion.jsonl")
    for one, other in ((folder / "whole" / name, folder / "parts" / name) for name in names):
        assert sorted(one.read_text().splitlines()) == sorted(other.read_text().splitlines())


@pytest.mark.tier2
def test_a_replay_is_the_run_without_a_server(played):
    folder, server, _ = played
    done = run(folder, "again", f"--proposer replay --recording {folder / 'whole'}", seeds="0 1")
    assert done.returncode == 0, done.stderr
    assert not asked(server)
    assert contents(folder / "whole") == contents(folder / "again")


@pytest.mark.tier2
def test_a_model_that_talks_nonsense_finds_nothing_and_decides_nothing(tmp_path):
    with Babbler() as server:
        done = run(tmp_path, "whole", served(server))
        assert done.returncode == 0, done.stderr
    for row in read(tmp_path / "whole", "guides"):
        assert float(row["gain"]) == 0
        assert float(row["unread"]) == 0.5  # of its answers: the two ratings
    assert (tmp_path / "whole" / "guides" / "minion-line-0.txt").read_text() == seed_guide("minion").text
    budgets = read(tmp_path / "whole", "budgets_minion")
    assert {row["search"]: float(row["dropped"]) for row in budgets} == {"line": 4, "strategist": 4}


class Mortal(Player):
    """Refuses everything from some request on."""

    left = 10

    def take(self, received):
        number, fault = super().take(received)
        return number, fault if number < self.left else "401"


def test_a_server_that_refuses_stops_the_run_with_one_line_and_no_score(tmp_path):
    with Mortal() as server:
        done = run(tmp_path, "whole", served(server))
        assert len(server.requests) < 30  # not every search finds out for itself
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"jaxrl-suite: the language model failed .*401.*--resume.*", done.stderr.splitlines()[-1])
    assert not (tmp_path / "whole" / "tables").exists()


# Talk.


@pytest.fixture(scope="module")
def talked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    done = run(folder, "whole")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.tier2
@pytest.mark.parametrize(
    ("moment", "continued"),
    [("talk-1", "learning to talk: continues at 1/2"), ("talk-games-3", "3/18")],
)
def test_talk_killed_and_resumed_is_as_if_never_stopped(talked, moment, continued):
    done = run(talked, moment, dies=moment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(talked, moment)
    assert done.returncode == 0, done.stderr
    assert continued in done.stderr
    assert contents(talked / "whole") == contents(talked / moment)


@pytest.mark.tier2
def test_silence_and_babbling_are_worth_nothing_and_no_model_gives_no_verdict(talked):
    learned = {row["setting"]: row for row in read(talked / "whole", "talk_learned")}
    silence = learned["silence"]
    assert float(silence["log_loss"]) == pytest.approx(0.8 * np.log(2), abs=1e-4)  # own seat known, the others even
    assert float(silence["merlin_found"]) == pytest.approx(1 / 3, abs=1e-4)
    assert float(silence["surprise"]) == pytest.approx(np.log(60), abs=1e-4)
    ways = {row["talk"]: row for row in read(talked / "whole", "talk_games")}
    assert len({row["log_loss_silent"] for row in ways.values()}) == 1  # the same games
    assert float(ways["babbling"]["change"]) == 0
    assert float(ways["open"]["change"]) < 0
    assert float(ways["another deal"]["change"]) > 0
    assert claims(talked / "whole")["strat-3"]["verdict"] == "not comparable"


@pytest.mark.parametrize(
    ("policy", "kind", "least"),
    [(babbling(), "accuses_evil", 0), (simple(candour=9.0), "accuses_evil", 0.4), (simple(9.0), "accuses_good", 0)],
)
def test_first_claims_add_up_and_tell_the_sides_apart(policy, kind, least):
    stacked = type(policy)(*(np.stack([part, part]) for part in policy))
    found = talk_report.first_claims(stacked)
    for kinds in found.values():
        np.testing.assert_allclose(sum(kinds.values()), 1, atol=1e-6)
    merlin = found["merlin"][kind]
    assert merlin.min() >= least
    if policy.logits.any():
        assert (found["merlin"]["accuses_evil"] > 100 * found["merlin"]["accuses_good"]).all()
        np.testing.assert_allclose(found["servant"]["accuses_evil"], found["servant"]["accuses_good"], rtol=1e-5)


# The judge and the verdict.


class Noted:
    """A run that keeps what it is told."""

    def __init__(self):
        self.results = {}

    def result(self, claim, measured, **told):
        self.results[claim] = dict(told, measured=measured)


def found(role, means, unread=0.0):
    """Searches of five methods and seeds whose gains are about `means`."""
    noise = np.linspace(-0.01, 0.01, 5)[:, None, None]
    scores = np.zeros((5, 6, 3, 3))
    scores[:, 1:, :, 0] = np.array(means)[None, :, None] + noise * np.arange(5)[None, :, None]
    return guides.RoleSearches(role, {}, scores, np.full((5, 6, 3), unread), None, {"rate": Usage()})  # pyright: ignore[reportArgumentType]


BEST, WORST, SAME = (0.1, 0.2, 0.3, 0.4, 0.9), (0.9, 0.8, 0.7, 0.6, 0.1), (0.5,) * 5


@pytest.mark.parametrize(
    ("merlin", "assassin", "unread", "verdict"),
    [
        (BEST, BEST, 0.0, "held"),
        (BEST, SAME, 0.0, "partly"),
        (SAME, SAME, 0.0, "not held"),
        (BEST, WORST, 0.0, "not held"),
        (BEST, BEST, 0.7, "not comparable"),
        (BEST, None, 0.0, "not comparable"),
    ],
)
def test_the_verdict_goes_by_intervals_on_both_roles(merlin, assassin, unread, verdict):
    config, noted = avalon_dialogue.Config(), Noted()
    pairs = [("merlin", merlin), ("assassin", assassin)]
    all_found = [found(role, means, unread) for role, means in pairs if means]
    guides_report.write_verdict(config, noted, all_found)  # pyright: ignore[reportArgumentType]
    assert noted.results["strat-3"]["verdict"] == verdict
    assert ("could not be read" in noted.results["strat-3"]["note"]) == (unread > 0.5)


def test_unseen_scenarios_are_others_than_those_of_searches_and_of_other_seeds():
    sets = [guides.scenarios_of("merlin", 4, seed) for seed in (guides.SEARCHED, *map(guides.unseen_seed, (0, 1)))]
    texts = [json.dumps(one.to_json(), sort_keys=True) for some in sets for one in some]
    assert len(texts) == len(set(texts)) == 12
    assert all(one.role == "merlin" for some in sets for one in some)


def test_arms_of_talk_have_a_control_and_names_of_their_own():
    assert len({arm.name for arm in talk.ARMS}) == len(talk.ARMS)
    assert [arm.scrambled for arm in talk.ARMS] == [False, False, True]


# What cannot be run.


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(talk=False), "give a --proposer"),
        (dict(proposer="openai"), "needs --base-url"),
        (dict(base_url="http://127.0.0.1:1/v1"), "base_url is for --proposer openai"),
        (dict(proposer="openai", base_url="http://127.0.0.1:1/v1"), "model is empty"),
        (dict(proposer="replay"), "--recording"),
        (dict(recording="somewhere"), "recording is for --proposer replay"),
    ],
)
def test_refuses_dialogue_that_cannot_be_run(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        avalon_dialogue.Config(**bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "bad", "message"),
    [
        (TalkConfig, dict(points=7), "points must divide the 150"),
        (SearchConfig, dict(strategies=7), "rounds must divide the 7"),
        (SearchConfig, dict(roles=("merlin", "merlin")), "none twice"),
    ],
)
def test_refuses_parts_of_dialogue_that_cannot_be_run(part, bad, message):
    with pytest.raises(ValueError, match=message):
        part(**bad)


def test_presets_of_dialogue_have_enough_seeds_and_the_published_methods():
    for config in avalon_dialogue.PRESETS.values():
        assert len(config.seeds) >= guides_report.SURELY
        assert {guides_report.OURS, *guides_report.OTHERS} <= set(config.search.methods)
        assert config.search.strategies // config.search.rounds == 4
