"""Speakers and listeners: signs, batches, replies that make no sense, and evidence in the exact posterior."""

import functools
import itertools

import jax
import numpy as np
import pytest
from fixtures.fake_server import FakeServer

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.dialogue import scenarios
from jaxrl_suite.avalonbench.dialogue import words as dialogue_words
from jaxrl_suite.avalonbench.dialogue.dialogue import Discriminator, Ratings, Speaker, discuss, listen, parse_ratings
from jaxrl_suite.avalonbench.dialogue.guides import Guide, seed_guide
from jaxrl_suite.avalonbench.observation_models import FailCounts
from jaxrl_suite.envs import Avalon
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.jobs import Job, SamplerFailedError
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Reply, Usage
from jaxrl_suite.llm.recorder import Recorder, ReplaySampler
from jaxrl_suite.llm.recording import Recording
from jaxrl_suite.strategist.judge.guide import GuideJudge, contract, guide_score, listeners

GAME = Avalon(5)
ROLES = ("merlin", "servant", "minion", "assassin")
LINE = "player {}: evil {:+d}, merlin {:+d}"


class Scripted:
    """A model that answers with `reply(request)`: a text, or None where it fails. It counts its calls."""

    name = "scripted"
    capabilities = Capabilities(True, False, True, False, False, True)

    def __init__(self, reply):
        self.reply, self.calls = reply, []

    def sample(self, requests):
        self.calls.append([request.role for request in requests])
        return [self._one(self.reply(request)) for request in requests]

    def _one(self, text):
        usage = Usage(samples=1, requests=1, prompt_tokens=1, output_tokens=1)
        if text is None:
            return Reply((), usage, usage, "the model is gone")
        return Reply((Completion(text, None, None, "stop", 1),), usage, usage)

    def score(self, pairs):
        raise NotImplementedError


@functools.cache
def stored():
    return scenarios.load()


def of_role(role, count=3):
    return tuple(one for one in stored() if one.role == role)[:count]


def rate_all(evil=0, merlin=0):
    return "\n".join(LINE.format(seat, evil, merlin) for seat in range(5))


def answer(rating):
    def reply(request):
        return rating(request) if request.role == "rate" else f"{request.role} {request.path}"

    return reply


def strategies(role, *texts):
    return [Strategy(i, "guide", text, parent=0 if i else None) for i, text in enumerate(texts)]


# Guides and scenarios.


@pytest.mark.parametrize("role", ROLES)
def test_seed_guides_parse_to_themselves_and_fit_the_role(role):
    guide = seed_guide(role)
    assert Guide.parse(role, guide.text) == guide
    assert len(guide.questions) == 4
    assert guide.preface


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "questions"), ("no numbers here", "questions"), ("1. ", "questions"), ("1. a\n" + "x" * 7000, "shorten")],
)
def test_refuses_text_that_is_no_worksheet_with_one_line(text, why):
    with pytest.raises(ValueError, match=why) as caught:
        Guide.parse("merlin", text)
    assert "\n" not in str(caught.value)


def test_questions_keep_their_lines_and_a_number_out_of_order_is_text():
    guide = Guide.parse("merlin", "Preface\n\n1. First\n   more\n7. not a question\n2) Second")
    assert guide.questions == ("First\n   more\n7. not a question", "Second")


def test_stored_scenarios_are_what_the_generator_makes_and_survive_json():
    made = scenarios.generate(GAME)
    assert tuple(made) == stored()
    assert [one.role for one in made] == [role for role in ROLES for _ in range(10)]
    assert all(one.dialogue and int(one.state.quest) > 0 for one in made)


def test_what_a_player_reads_does_not_depend_on_roles_it_cannot_tell_apart():
    scramble = jax.jit(GAME.scramble)
    for one in of_role("servant", 4) + of_role("merlin", 4) + of_role("minion", 4):
        before = dialogue_words.private_text(GAME, one.state, one.speaker)
        public = dialogue_words.public_text(GAME, one.state)
        for draw in range(3):
            other = scramble(one.state, one.speaker, jax.random.key(draw))
            assert dialogue_words.private_text(GAME, other, one.speaker) == before
            assert dialogue_words.public_text(GAME, other) == public


@pytest.mark.parametrize("broken", [{}, {"log": [], "speaker": 0, "dialogue": [], "intention": ""}, None])
def test_refuses_what_is_no_scenario(broken):
    with pytest.raises(ValueError, match=r"scenario|log"):
        scenarios.Scenario.from_json(broken)


# Ratings.


def test_reads_ratings_as_lines_and_as_json():
    pairs = [(1, -2), (0, 0), (-1, 2), (2, 1), (-2, 0)]
    lines = "\n".join(LINE.format(seat, *pair) for seat, pair in enumerate(pairs))
    objects = ", ".join(f'"{seat}": {{"evil": {a}, "merlin": {b}}}' for seat, (a, b) in enumerate(pairs))
    expected = Ratings(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), ())
    assert parse_ratings(f"Sure:\n{lines}\nThat is all.", 5) == expected
    assert parse_ratings("{" + objects + "}", 5) == expected
    assert parse_ratings(lines.replace("-", "\N{MINUS SIGN}"), 5) == expected


@pytest.mark.parametrize(
    ("text", "seats"),
    [
        ("", range(5)),
        ("I think player 3 is evil.", range(5)),
        (rate_all(1, 1).replace("player 2: evil +1", "player 2: evil +3"), [2]),
        (rate_all(1, 1).replace("player 2: evil +1", "player 2: evil +1.5"), [2]),
        (rate_all(1, 1) + "\n" + LINE.format(4, 2, 2), [4]),
        (rate_all(1, 1).replace("player 1", "player 9"), [1]),
        ("player 0: evil " + "9" * 4000 + ", merlin 0", range(5)),
    ],
)
def test_an_unclear_rating_is_no_change_and_a_failure_never_an_error(text, seats):
    ratings = parse_ratings(text, 5)
    assert [ratings.evil[seat] for seat in range(5)] == [0 if seat in seats else 1 for seat in range(5)]
    assert [ratings.merlin[seat] for seat in range(5)] == [0 if seat in seats else 1 for seat in range(5)]
    assert len(ratings.failures) >= len(list(seats))


def test_likelier_evil_lowers_the_belief_in_good_and_keeps_the_counts():
    roles = np.array(GAME.roles)
    seat = int(np.flatnonzero(roles == 5)[0])
    belief = beliefs.prior(GAME, roles, seat, FailCounts(0.9))
    accused = next(other for other in range(5) if other != seat)
    ratings = Ratings(tuple(2 * (other == accused) for other in range(5)), (0,) * 5)
    after = beliefs.posterior(listen(GAME, belief, ratings, 0.7, 0.7))
    good = np.asarray(beliefs.p_good(GAME, after))
    np.testing.assert_allclose(good.sum(), 3, atol=1e-5)
    # by enumeration in plain numpy: weight exp(0.7 * -2) where the accused is good
    weights = {}
    for deal in set(itertools.permutations(GAME.roles)):
        if deal[seat] == 5:
            weights[deal] = np.exp(-1.4) if deal[accused] in (0, 5) else 1.0
    expected = sum(w for deal, w in weights.items() if deal[accused] in (0, 5)) / sum(weights.values())
    np.testing.assert_allclose(good[accused], expected, atol=1e-6)
    assert expected < 0.5


def test_likelier_merlin_raises_the_belief_in_merlin_alone():
    roles = np.array(GAME.roles)
    seat = int(np.flatnonzero(roles == 7)[0])
    belief = beliefs.prior(GAME, roles, seat, FailCounts(0.9))
    suspect = next(other for other in range(5) if tables(GAME).evil[0] >> other & 1 == 0 and roles[other] == 5)
    ratings = Ratings((0,) * 5, tuple(2 * (other == suspect) for other in range(5)))
    merlin = np.asarray(beliefs.p_merlin(GAME, beliefs.posterior(listen(GAME, belief, ratings, 1.0, 0.5))))
    np.testing.assert_allclose(merlin[suspect], np.e / (np.e + 2), atol=1e-6)


# Scores.


@pytest.mark.parametrize(
    ("evil_of_servants", "merlin_of_evil", "score"),
    [(-2, -2, 2), (-2, 0, 0), (-2, 2, -2), (2, -2, -2), (-1, -2, 1), (0, 1, -1), (0, 0, 0)],
)
def test_merlin_gets_the_smaller_of_being_believed_and_staying_hidden(evil_of_servants, merlin_of_evil, score):
    one = of_role("merlin")[0]
    seats = listeners(one)
    assert len(seats) == 4
    ratings = {
        seat: Ratings((evil_of_servants,) * 5, (0,) * 5)
        if one.log.roles[seat] == 5
        else Ratings((0,) * 5, (merlin_of_evil,) * 5)
        for seat in seats
    }
    assert guide_score(one, ratings).score == score


@pytest.mark.parametrize(("role", "count"), [("minion", 2), ("assassin", 2), ("servant", 1)])
def test_others_are_scored_by_the_servants_belief_in_them_alone(role, count):
    one = of_role(role)[0]
    assert len(listeners(one)) == count
    ratings = {
        seat: Ratings(tuple(-2 * (other == one.speaker) + i for other in range(5)), (2,) * 5)
        for i, seat in enumerate(listeners(one))
    }
    assert guide_score(one, ratings).score == (2 + 1) / 2 if count == 2 else 2


# The judge.


def test_a_round_is_three_calls_whatever_the_number_of_guides():
    model = Scripted(answer(lambda request: rate_all(-1, -1)))
    judge = GuideJudge(model, "merlin", of_role("merlin"))
    seed = seed_guide("merlin").text
    result = judge.judge(strategies("merlin", seed, seed + "5. More?\n"), (7,))
    assert [len(call) for call in model.calls] == [6, 6, 24]
    assert [set(call) for call in model.calls] == [{"think"}, {"speak"}, {"rate"}]
    assert result.scores == (1.0, 1.0)
    assert result.games == (3, 3)
    assert result.improvements == (None, 0.0)
    assert judge.failures == []


def test_a_better_guide_scores_higher_and_the_worst_scenarios_come_first():
    def rating(request):
        better = "More?" in request.prefix[0].content
        return rate_all(-2 if better else request.path[1] - 1, 0)

    def reply(request):  # the speech shows whether the worksheet had the question
        if request.role == "rate":
            return rating(request)
        return "More?" if "More?" in request.prefix[0].content else "hm"

    judge = GuideJudge(Scripted(reply), "minion", of_role("minion"))
    seed = seed_guide("minion").text
    result = judge.judge(strategies("minion", seed, seed + "5. More?\n"), (7,))
    assert result.scores == (0.0, 2.0)
    assert result.improvements == (None, 2.0)
    assert [state.heuristic[0] for state in result.key_states] == [-1, 0, 1, 2, 2, 2]
    assert result.key_states[0].search == (2.0,)
    assert "The speech:\nhm" in result.key_states[0].state
    assert result.key_states[0].named == {"servants_believe_speaker_is_good": -1.0}


def test_the_same_path_gives_the_same_judgement_from_a_recording_without_a_model(tmp_path):
    count = itertools.count()
    model = Scripted(answer(lambda request: rate_all(next(count) % 5 - 2, 1)))
    seed = seed_guide("assassin").text
    guides = strategies("assassin", seed, seed + "5. More?\n")
    with Recording(tmp_path / "record.jsonl") as recording:
        paid = GuideJudge(Recorder(model, recording), "assassin", of_role("assassin", 8), per_round=4).judge(
            guides, (3,)
        )
    calls = len(model.calls)
    with Recording(tmp_path / "record.jsonl") as recording:
        again = GuideJudge(Recorder(model, recording), "assassin", of_role("assassin", 8), per_round=4)
        assert again.judge(guides, (3,)) == paid
    assert len(model.calls) == calls
    assert paid.games == (4, 4)


def test_rounds_draw_their_scenarios_by_path():
    judge = GuideJudge(Scripted(answer(lambda request: rate_all())), "servant", of_role("servant", 10), per_round=4)
    drawn = {tuple(judge._chosen((index,))) for index in range(20)}
    assert len(drawn) > 10
    assert judge._chosen((1,)) == judge._chosen((1,))


def test_a_model_that_talks_nonsense_changes_nothing_and_is_noted():
    model = Scripted(lambda request: "" if request.role == "speak" else "flub \x00 {]")
    judge = GuideJudge(model, "merlin", of_role("merlin", 2))
    result = judge.judge(strategies("merlin", seed_guide("merlin").text), (0,))
    assert result.scores == (0.0,)
    assert len(judge.failures) == 2 * (1 + 4 * 5)
    assert judge.failures[0] == f"guide 0, scenario 0: player {of_role('merlin')[0].speaker} said nothing"


def test_one_request_that_fails_is_no_change_but_a_dead_model_stops_the_run():
    first = of_role("minion", 2)
    model = Scripted(lambda request: None if request.path[1] == 0 else answer(lambda _: rate_all(-2))(request))
    judge = GuideJudge(model, "minion", first)
    assert judge.judge(strategies("minion", seed_guide("minion").text), (0,)).scores == (1.0,)
    assert judge.failures == ["guide 0, scenario 0: the model is gone"]
    with pytest.raises(SamplerFailedError, match="gone"):
        GuideJudge(Scripted(lambda request: None), "minion", first).judge(
            strategies("minion", seed_guide("minion").text), (0,)
        )


def test_a_strict_judge_stops_at_a_request_that_fails():
    model = Scripted(lambda request: None if request.path[1] == 0 else answer(lambda _: rate_all(-2))(request))
    judge = GuideJudge(model, "minion", of_role("minion", 2), strict=True)
    with pytest.raises(SamplerFailedError, match="gone"):
        judge.judge(strategies("minion", seed_guide("minion").text), (0,))
    judge.sampler = Scripted(answer(lambda request: rate_all()))
    with pytest.raises(SamplerFailedError, match="gone"):  # other searches need not find out for themselves
        judge.judge(strategies("minion", seed_guide("minion").text), (1,))


@pytest.mark.parametrize(
    ("size", "speeches", "scenarios"), [(6, 24, 4), (5, 24, 4), (2, 6, 3), (1, 6, 6), (2, 24, 10), (9, 6, 1)]
)
def test_rounds_cost_about_the_same_speeches(size, speeches, scenarios):
    judge = GuideJudge(Scripted(answer(lambda request: rate_all())), "servant", of_role("servant", 10), strict=True)
    text = seed_guide("servant").text
    said = judge.judge(strategies("servant", *[text] * size), (0, 1, 0), speeches)
    assert said.games == (scenarios,) * size


def test_judges_of_guides_are_told_apart_by_what_their_answers_depend_on():
    model = Scripted(answer(lambda request: rate_all()))
    made = [
        GuideJudge(model, "servant", of_role("servant", 4)),
        GuideJudge(model, "servant", of_role("servant", 5)),
        GuideJudge(model, "merlin", of_role("merlin", 4)),
        GuideJudge(model, "servant", of_role("servant", 4), num_key_states=2),
    ]
    assert len({judge.identity for judge in made}) == len(made)
    assert made[0].identity == GuideJudge(model, "servant", of_role("servant", 4)).identity


@pytest.mark.parametrize("role", ROLES)
def test_a_proposer_is_told_the_rules_and_what_the_role_is_judged_by(role):
    text = contract(GAME, role)
    assert dialogue_words.rules_text(GAME) in text
    assert f"whose role is {role.capitalize()}:" in text
    assert ("likely that the speaker is Merlin" in text) == (role == "merlin")
    assert "$" not in text


def test_checks_texts_with_one_line_each():
    judge = GuideJudge(Scripted(answer(lambda request: "")), "merlin", of_role("merlin"))
    fine, bad = judge.check([seed_guide("merlin").text, "def evaluate(view): ..."])
    assert fine == ""
    assert "questions" in bad


@pytest.mark.parametrize("bad", [dict(role="minion"), dict(per_round=0), dict(per_round=9), dict(scenarios=())])
def test_refuses_a_judge_that_cannot_be(bad):
    given = dict(role="merlin", scenarios=of_role("merlin"), per_round=None) | bad
    model = Scripted(answer(lambda request: ""))
    with pytest.raises(ValueError, match=r"scenarios|per_round"):
        GuideJudge(model, given["role"], given["scenarios"], per_round=given["per_round"])


def test_a_compatible_server_is_asked_in_batches_and_its_nonsense_is_no_change(tmp_path):
    with FakeServer(words="evil merlin 0 0") as server:
        config = HTTPConfig(base_url=server.base_url, model="fake")
        with HTTPSampler(config) as model:
            judge = GuideJudge(model, "minion", of_role("minion", 2))
            result = judge.judge(strategies("minion", seed_guide("minion").text), (0,))
        assert len(server.requests) == 2 + 2 + 4
    assert result.scores == (0.0,)
    assert judge.failures


# A whole discussion.


def test_a_discussion_goes_round_from_the_leader_and_tables_share_their_calls():
    def reply(request):
        return rate_all(1, 0) if request.role == "rate" else f"speech {request.path}"

    guides = {role: seed_guide(role) for role in ROLES}
    model, intentions = Scripted(reply), dict.fromkeys(range(5), "vote")
    tables_ = [one.scene._replace(dialogue=()) for one in stored()[:3]]
    jobs = [
        Job(
            f"table {i}",
            lambda ledger, i=i: discuss(tables_[i], guides, Speaker(), Discriminator(), intentions, (i,)),
        )
        for i in range(3)
    ]
    outcomes = run_lockstep(jobs, model)
    assert [len(call) for call in model.calls] == [3] * 10 + [15]
    for table, outcome in zip(tables_, outcomes, strict=True):
        assert outcome.error is None
        leader = int(table.state.leader)
        assert [one.seat for one in outcome.value.utterances] == [(leader + turn) % 5 for turn in range(5)]
        assert outcome.value.ratings[3] == Ratings((1,) * 5, (0,) * 5)
    alone = run_lockstep(jobs[1:2], Scripted(reply))[0].value
    assert alone == outcomes[1].value


def test_later_speakers_hear_earlier_ones_and_nobody_reads_a_worksheet():
    heard = {}

    def reply(request):
        if request.role == "think":
            heard[request.path] = request.prefix[0].content
            return "SECRET"
        if request.role == "rate":
            heard[request.path] = request.prefix[0].content
            return rate_all()
        return f"words {request.path[0]}"

    scene = stored()[0].scene._replace(dialogue=())
    guides = {role: seed_guide(role) for role in ROLES}
    job = Job("table", lambda _: discuss(scene, guides, Speaker(), Discriminator(), dict.fromkeys(range(5), "x"), ()))
    assert run_lockstep([job], Scripted(reply))[0].error is None
    assert not any("SECRET" in text for text in heard.values())
    assert [f"words {i}" in heard[(3, 0)] for i in range(5)] == [True, True, True, False, False]
    assert all(f"words {i}" in heard[(5, 2, 0)] for i in range(5))


def test_thoughts_are_neither_said_nor_ratings():
    """A reasoning model's thoughts name its role, and hold drafts of its ratings."""
    heard = {}

    def reply(request):
        heard[request.path] = request.prefix[-1].content
        answer = rate_all(1, 0) if request.role == "rate" else f"words {request.path[0]}"
        return f"<think>I am Merlin.\n{rate_all(-2, 2)}</think>\n{answer}"

    scene = stored()[0].scene._replace(dialogue=())
    guides = {role: seed_guide(role) for role in ROLES}
    job = Job("table", lambda _: discuss(scene, guides, Speaker(), Discriminator(), dict.fromkeys(range(5), "x"), ()))
    outcome = run_lockstep([job], Scripted(reply))[0].value
    assert [one.speech for one in outcome.utterances] == [f"words {i}" for i in range(5)]
    assert outcome.ratings[0] == Ratings((1,) * 5, (0,) * 5)
    assert not any("I am Merlin" in text for text in heard.values())


def test_replays_a_recording_with_no_model_at_all(tmp_path):
    model = Scripted(answer(lambda request: rate_all(-1)))
    guides = strategies("minion", seed_guide("minion").text)
    with Recording(tmp_path / "record.jsonl") as recording:
        first = GuideJudge(Recorder(model, recording), "minion", of_role("minion")).judge(guides, (1,))
    with Recording(tmp_path / "record.jsonl") as recording:
        replay = ReplaySampler(recording)
        assert GuideJudge(replay, "minion", of_role("minion")).judge(guides, (1,)) == first
