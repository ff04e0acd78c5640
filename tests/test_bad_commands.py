"""A hundred command lines that cannot be run: exit code 2, one line that says what to do, and nothing touched."""

import pytest

from jaxrl_suite import cli

RATES = ("nan", "inf", "-inf", "-1", "0", "1e30", "fast", "")
OPENAI = "--proposer openai --model m --base-url"
BAD = [
    *((f"run lm --learning-rate={rate}", "learning_rate must be") for rate in RATES),
    *((f"run ddrl --cloning.learning-rate={rate}", "learning_rate must be") for rate in RATES),
    *((f"run ddrl --distillation.meta-learning-rate={rate}", "meta_learning_rate must be") for rate in RATES),
    *((f"run ddrl --maze.meta-learning-rate={rate}", "meta_learning_rate must be") for rate in RATES),
    *((f"run ddrl --distillation.inner-learning-rate={rate}", "inner_learning_rate must be") for rate in RATES),
    *((f"run avalon_dialogue --learning.learning-rate={rate}", "learning_rate must be") for rate in RATES),
    *((f"run {name} --devices 999", "999 devices asked for and") for name in ("lm", "ddrl", "gops_search")),
    *((f"run {name} --seeds", "seeds must have at least one") for name in ("lm", "ddrl", "gops_search", "strategist")),
    *((f"run {name} --seeds none", "seeds must have") for name in ("lm", "ddrl", "data_values", "avalon_bots")),
    *((f"run {name} --seeds 1 1", "none twice") for name in ("lm", "ddrl", "data_values", "avalon_bots")),
    *((f"run {name} --seeds -1", "seeds must be") for name in ("lm", "ddrl", "data_values", "automl_market")),
    *((f"run {name} --preset quik", "Did you mean quick") for name in ("lm", "ddrl", "strategist", "gops_search")),
    ("run lm --weights nowhere.gguf", "no model at nowhere.gguf"),
    ("run lm --weights nowhere", "no model at nowhere"),
    ("run lm --weights .", "no model at ."),
    ("run lm --weights smolm2", "Did you mean smollm2"),
    ("run lm --size 3B", "size must be one of"),
    ("run lm --chunk 7", "chunk must divide"),
    ("run lm --temperatures -1", "temperatures must be"),
    ("run lm --temperatures nan", "temperatures must be"),
    ("run lm --easy nan", "easy must be"),
    ("run lm --batch 0", "batch must be"),
    ("run lm --batch 1e3", "whole number"),
    ("run lm --problems 99999999999999999999", "problems must be"),
    ("run automl_market --program-nodes 0", "program_nodes must be"),
    ("run automl_market --program-seconds 2", "is now --program-nodes"),
    ("run automl_market --sizes 5x5", "sizes must be"),
    ("run gops_search --games 7", "games must be"),
    ("run gops_search --num-cards 40", "num_cards must be"),
    ("run avalon_bots --epsilon nan", "epsilon must lie"),
    ("run avalon_bots --epsilon 1", "epsilon must lie"),
    ("run avalon_bots --players 4", "players must be"),
    ("run data_values --noise nan", "noise must be"),
    ("run data_values --datasets iris", "datasets must be"),
    ("run ddrl --noise nan", "noise must be"),
    ("run ddrl --distillation.clip nan", "clip must be"),
    ("run ddrl --distillation.clip 0", "clip must be"),
    ("run ddrl --maze.outer-step 3", "Did you mean maze.outer_steps"),
    ("run strategist --budgets none", "is now --exact.budgets"),
    ("run strategist --exact.budgets 0", "budgets must be"),
    ("run strategist --exact.budgets none 3", "whole number"),
    ("run strategist --proposer openai", "needs --base-url"),
    ("run strategist --proposer replay", "needs --recording"),
    ("run strategist --proposer replay --recording nowhere", "needs --recording"),
    ("run strategist --api-key-variable a=b", "cannot name an environment variable"),
    ("run strategist --api-key-variable sk-0123456789", "cannot name an environment variable"),
    (f"run strategist {OPENAI} http://127.0.0.1:9/v1 --api-key-variable 1KEY", "cannot name an environment"),
    (f"run strategist {OPENAI} http://127.0.0.1:9/v1", "cannot reach http://127.0.0.1:9/v1"),
    (f"run avalon_dialogue {OPENAI} http://127.0.0.1:9/v1", "cannot reach http://127.0.0.1:9/v1"),
    (f"run strategist {OPENAI} 127.0.0.1:9", "base_url"),
    (f"run strategist {OPENAI} https://example.invalid/v1 --api-key-variable NO_SUCH_KEY_HERE", "NO_SUCH_KEY_HERE"),
    ("run avalon_dialogue --talk no", "nothing is left to run"),
    ("run avalon_dialogue --learning.merlin-weight nan", "merlin_weight must be"),
]  # fmt: skip


def test_there_are_a_hundred():
    assert len({words for words, _ in BAD}) >= 100


@pytest.mark.parametrize(("words", "message"), BAD)
def test_one_line_and_nothing_touched(words, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.err.startswith("jaxrl-suite: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_none_leaves_budgets_empty():
    from jaxrl_suite.cli import runner

    assert runner.prepare("strategist", "quick", {"exact.budgets": ["none"]}).config.exact.budgets == ()
