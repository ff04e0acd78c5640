"""A journal answers for the judge that it heard, and journals of earlier versions, which name no judge, are read."""

import hashlib
import json

import pytest
from fixtures.toy_strategies import ToyJudge, ToyLibrary

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.journal import Journal, JudgedRound, services
from jaxrl_suite.evolve.records import Judgement, Strategy

TEXT = ToyLibrary().render((1.0,) * 6)
ROUND = JudgedRound((Strategy(0, "heuristic", TEXT), Strategy(1, "heuristic", TEXT, parent=0)), (3, 1, 0), games=24)


class Other(ToyJudge):
    """Another judge, as its identity says."""

    identity = "other"

    def judge(self, strategies, path, games=None):
        self.judged.append((path, games))
        return super().judge(strategies, path)


def test_a_journal_answers_for_each_judge_with_what_it_said(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        toy, other = Other(games=2), Other(games=4)
        toy.identity = "toy"
        for judge in (toy, other, toy, other):
            (said,) = services({"name": judge}, journal)["judge name"]([ROUND])
            assert said.games == (judge.games,) * 2
        services({"name": toy}, journal)["judge name"]([ROUND._replace(games=12)])
        assert [judge.judged[::2] for judge in (toy, other)] == [[((3, 1, 0), 24), ((3, 1, 0), 12)], [((3, 1, 0), 24)]]
        services({"name": toy}, journal)["check name"]([TEXT])
        services({"name": other}, journal)["check name"]([TEXT, TEXT])
        assert (toy.checked, other.checked) == ([TEXT], [TEXT])


def test_a_journal_of_a_version_whose_searches_named_no_judge_is_read(tmp_path):
    """Its keys, as they were made then: the name, no identity, and the question without its games."""

    def key(asked):
        return hashlib.sha256(json.dumps(["rounds", "", asked], sort_keys=True).encode()).hexdigest()[:32]

    rows = [[one.id, one.kind, one.text, one.weights, one.parent] for one in ROUND.strategies]
    value = {"scores": [0.5, -0.5], "games": [7, 7], "improvements": [None, 1.0], "key_states": []}
    lines = [
        {"kind": "check", "key": key(TEXT), "value": "no good"},
        {"kind": "judge", "key": key([rows, [3, 1, 0]]), "value": value},
    ]
    path = tmp_path / "journal"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = Other()
    with Journal(path) as journal:
        asked = services({"rounds": judge}, journal)
        assert asked["check rounds"]([TEXT]) == ["no good"]
        assert asked["judge rounds"]([ROUND]) == [Judgement((0.5, -0.5), (7, 7), (None, 1.0), ())]
        assert (judge.judged, judge.checked) == ([], [])
        asked["judge rounds"]([ROUND._replace(path=(3, 2, 0))])  # not on record
        assert judge.judged[0] == ((3, 2, 0), 24)
    assert path.read_text().count("\n") == 3


def test_a_judge_says_who_it_is():
    class Nameless:
        def judge(self, strategies, path):
            raise AssertionError

        check = judge

    with pytest.raises(UserError, match="Nameless has no identity: give it a property"):
        services(Nameless())  # pyright: ignore[reportArgumentType]
