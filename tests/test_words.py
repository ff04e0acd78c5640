"""The field's words: names that were replaced stay out, each class name means one thing, docstrings begin well."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("envs", "jaxrl_suite", "experiments")

# An old name, and the folders or files in which it meant what has another name now.
REPLACED = [
    ("Paper", "search experiments/gops_search"),  # UniformOpponentPUCT
    ("Desk", "jaxrl_suite/llm"),  # RequestCache
    ("desk", "jaxrl_suite/llm"),
    ("flying", "jaxrl_suite/llm"),  # in_flight
    ("hopeless", "jaxrl_suite/llm"),  # fatal_error
    ("told", "jaxrl_suite/llm jaxrl_suite/evolve experiments/avalon_dialogue/guides.py"),  # as_user_error
    ("a_round", "jaxrl_suite/evolve experiments"),  # strategies_per_round
    ("alone", "jaxrl_suite/evolve experiments/strategist experiments/avalon_dialogue"),  # sequential
    ("standing", "jaxrl_suite/evolve experiments"),  # ranking
    ("Standing", "jaxrl_suite/evolve"),
    ("deaf", "jaxrl_suite experiments"),  # shuffle_scores, the shuffled-score control
    ("kick", "jaxrl_suite/datamarket experiments"),  # perturb
    ("kicks", "jaxrl_suite/datamarket experiments"),  # perturbation_restarts
    ("hunts", "jaxrl_suite/avalonbench jaxrl_suite/strategist envs/avalon"),  # assassination_attempts
    ("hunted", "jaxrl_suite/avalonbench jaxrl_suite/strategist envs/avalon"),  # assassination_attempted
    ("went", "jaxrl_suite/avalonbench jaxrl_suite/strategist envs/avalon"),  # quest_played
    ("hit", "jaxrl_suite/avalonbench jaxrl_suite/strategist envs/avalon"),  # assassination_succeeded
    ("follow_rate", "jaxrl_suite/rl"),  # tau
    ("rate", "jaxrl_suite/rl/learners/iql.py jaxrl_suite/rl/learners/td3_bc.py"),  # learning_rate
    ("rate", "jaxrl_suite/rl/learners/cloning.py jaxrl_suite/distill/driver.py jaxrl_suite/distill/evolution.py"),
    ("rates", "jaxrl_suite/distill experiments/ddrl"),  # learning_rates
    ("actor_optimiser", "jaxrl_suite/rl"),  # actor_opt_state
    ("critic_optimiser", "jaxrl_suite/rl"),
    ("optimiser", "jaxrl_suite/rl/learners/iql.py jaxrl_suite/rl/learners/td3_bc.py"),  # opt_state
    ("optimiser", "jaxrl_suite/distill/evolution.py"),
    ("rows", "experiments/strategist/config.py jaxrl_suite/strategist/play/strength.py"),  # batch_size
    ("round_rows", "experiments/strategist"),
    ("duel_rows", "experiments/strategist"),
    ("searches", "experiments/gops_search/config.py experiments/strategist/config.py"),  # policy_samples
    ("searches", "jaxrl_suite/strategist/play/strength.py"),
    ("tables", "experiments/automl_market/config.py experiments/data_values/config.py"),  # datasets
]
# Participles name nothing: a parameter, a field, a function or a class says what the thing is.
PARTICIPLES = {"kept", "said", "mine"}
PROSE = [
    r"\w{3}s a (second|move|cell)\b",  # per second, per move, per cell
    r"worth to good\b",  # value for the good team
    r"points of 100\b",  # normalised score
    r"(?i)what talk is worth\b",  # value of communication
]
ASKS = re.compile(r"(What|How|Where|Whether|Which|Who|Whose|When|Why|All that|Everything)\b")
# The text of a feature's function is a piece of strategies that journals hold.
FEATURES = {"features_avalon.py", "features_gops.py"}
SHARED = {"Config"}  # the command looks for it in every experiment


@cache
def sources() -> dict[Path, ast.Module]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def names(tree: ast.Module):
    """(name, line, whether it is a parameter, a field or a definition) of all identifiers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno, False
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.end_lineno, False
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno, True
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno, False
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno, True
            fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            yield from ((field.id, field.lineno, True) for field in fields if isinstance(field, ast.Name))


def docstrings(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", "module"), text


def inside(path: Path, scope: str) -> bool:
    return any(path.is_relative_to(place) or path.is_relative_to(f"jaxrl_suite/{place}") for place in scope.split())


def test_replaced_names_are_gone():
    found = [
        f"{path}:{line} {name}"
        for path, tree in sources().items()
        for name, line, _ in names(tree)
        for old, scope in REPLACED
        if name == old and inside(path, scope)
    ]
    assert not found


@pytest.mark.parametrize(("old", "scope"), REPLACED)
def test_scopes_exist(old, scope):
    assert all(any(path.is_relative_to(p) or path.is_relative_to(f"jaxrl_suite/{p}") for path in sources())
               for p in scope.split()), old  # fmt: skip


def test_parameters_fields_and_definitions_are_no_participles():
    found = [
        f"{path}:{line} {name}"
        for path, tree in sources().items()
        for name, line, defined in names(tree)
        if defined and name in PARTICIPLES
    ]
    assert not found


def test_prose_has_the_fields_words():
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in sources()}
    texts |= {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))}
    found = [f"{path}: {hit[0]}" for path, text in texts.items() for old in PROSE for hit in re.finditer(old, text)]
    assert not found


def test_docstrings_begin_with_what_they_describe():
    found = [
        f"{path} {name}: {text.splitlines()[0]}"
        for path, tree in sources().items()
        if path.name not in FEATURES
        for name, text in docstrings(tree)
        if not name.startswith("_") and ASKS.match(text)
    ]
    assert not found


def test_a_class_name_means_one_class():
    places = defaultdict(list)
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name not in SHARED:
                places[node.name].append(f"{path}:{node.lineno}")
    assert not {name: where for name, where in places.items() if len(where) > 1}
