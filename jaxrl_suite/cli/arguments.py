"""The command line: subcommands, their help, and the overrides of an experiment's fields."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from jaxrl_suite import __version__
from jaxrl_suite.cli.catalog import Experiment, Field, leaves
from jaxrl_suite.core.config_paths import option
from jaxrl_suite.errors import UserError, suggest

_MAIN = """\
Research systems for search, reinforcement learning and language models as pure JAX functions.

examples:
  jaxrl-suite list
  jaxrl-suite run gops_search
  jaxrl-suite reproduce
"""
_RUN = """\
Runs one experiment; its folder gets tables, figures and report.html.

NAME comes from `jaxrl-suite list`, or is the path of a file with an experiment of your own.
Any field of its config can be set by name; `jaxrl-suite run NAME --help` lists them.

examples:
  jaxrl-suite run gops_search
  jaxrl-suite run gops_search --preset full --seeds 0 1 2 3 4
  jaxrl-suite run gops_search --out runs/mine --resume
  jaxrl-suite run ddrl --maze.outer-steps 100
  jaxrl-suite run lm --size 0.8M --describe
  jaxrl-suite run ./my_experiment.py --learning-rate 3e-4
"""
_REPRODUCE = """\
Runs every experiment and writes one page with a row per system: the published claims and what was measured.

examples:
  jaxrl-suite reproduce
  jaxrl-suite reproduce --only gops_search --out runs/check
  jaxrl-suite reproduce --out runs/check --resume
"""
SOLVE = """\
Solves problems of your own by a model and a search; the same as `run solve`, whose fields are its options.

A file has a JSON object a line: `prompt`, and where they are known `id`; `entry`, the function that a program must
define; `tests`, which the search sees; `setup`, code that tests use; `hidden_tests` and `answer`, which decide at the
end. Where a program has no tests the model writes some. What is paid for is on disk at once: --resume goes on.

examples:
  jaxrl-suite solve --task problems.jsonl --method sfs --base-url http://127.0.0.1:8080/v1
  jaxrl-suite solve --task problems.jsonl --method div_role --samples 20 --base-url http://127.0.0.1:8080/v1
  jaxrl-suite solve --task questions.jsonl --method majority --weights smollm2 --max-tokens 200
  jaxrl-suite solve --task problems.jsonl --method sfs --recording runs/solve-quick-1a2b3c4d
"""
_BENCH = """\
Runs the benchmarks, or the one called NAME, and prints a table.

examples:
  jaxrl-suite bench
  jaxrl-suite bench search --out bench.json
"""
_REPORT = """\
Makes report.html again from the files of a run, or of a whole `reproduce` folder.

examples:
  jaxrl-suite report runs/gops_search-quick-1a2b3c4d
"""
_LIST = """\
Lists the experiments and the systems they serve.

examples:
  jaxrl-suite list
"""
_ENVS = """\
Lists the environments that `jaxrl_suite.envs.make` knows.

examples:
  jaxrl-suite envs
"""


_FETCH = """\
Brings a language model into the user's cache, checks it and says its licence.

examples:
  jaxrl-suite fetch smollm2
  jaxrl-suite run lm --weights smollm2
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and "argument COMMAND" in message:
            word = message.partition("invalid choice: '")[2].partition("'")[0]
            message = f"unknown command {word!r}{suggest(word, COMMANDS)}"
        elif "required: COMMAND" in message:
            message = f"which command? Choose from: {', '.join(COMMANDS)}"
        else:
            message = f"{message}; see `{self.prog} --help`"
        raise UserError(message)


COMMANDS = ("list", "envs", "run", "solve", "reproduce", "bench", "report", "fetch")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command; wrong input raises UserError instead of printing the usage."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="jaxrl-suite", description=_MAIN, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"jaxrl-suite {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        summary = text.partition("\n")[0]
        return commands.add_parser(name, help=summary, description=text, formatter_class=raw, allow_abbrev=False)

    add("list", _LIST)
    add("envs", _ENVS)

    run = add("run", _RUN)
    run.add_argument("name", metavar="NAME", help="an experiment, or the path of one")
    run.add_argument(
        "--preset", default="quick", help="where the config starts from: quick (default), full, accel, ..."
    )
    run.add_argument("--out", metavar="DIR", help="run folder (default: runs/NAME-PRESET-HASH)")
    run.add_argument(
        "--resume", action="store_true", help="continue the run in the folder, or start it if there is none"
    )
    run.add_argument("--describe", action="store_true", help="print the layers of its networks, and run nothing")
    run.add_argument("--devices", type=_positive, metavar="N", help="how many devices to use (default: all)")

    add("solve", SOLVE)

    reproduce = add("reproduce", _REPRODUCE)
    reproduce.add_argument("--only", metavar="A,B", help="these experiments only")
    reproduce.add_argument("--preset", default="quick", help="preset of every experiment (default: quick)")
    reproduce.add_argument("--out", metavar="DIR", default="runs/reproduce", help="folder (default: runs/reproduce)")
    reproduce.add_argument("--resume", action="store_true", help="skip what is finished and continue what is not")
    reproduce.add_argument("--devices", type=_positive, metavar="N", help="how many devices to use (default: all)")

    bench = add("bench", _BENCH)
    bench.add_argument("name", metavar="NAME", nargs="?", help="a benchmark (default: all)")
    bench.add_argument("--out", metavar="FILE", help="also write the rows and the machine as JSON")

    report = add("report", _REPORT)
    report.add_argument("folder", metavar="DIR", help="a run folder, or the folder of `reproduce`")

    fetch = add("fetch", _FETCH)
    fetch.add_argument("name", metavar="NAME", help="smollm2 (SmolLM2-135M-Instruct, 98 MB, Apache-2.0)")
    return parser


def spelled_out(argv: Sequence[str]) -> list[str]:
    """A command line with `solve` as the experiment that it is."""
    return ["run", *argv] if argv[:1] == ["solve"] else [*argv]


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """Reads the command line.

    Returns:
      The arguments, and for `run` the fields to override with their words.

    Raises:
      UserError: if it cannot be understood.
    """
    arguments, rest = make_parser().parse_known_args(spelled_out(argv))
    if rest and arguments.command != "run":
        raise UserError(f"unknown argument {rest[0]!r}; see `jaxrl-suite {arguments.command} --help`")
    return arguments, split_overrides(rest)


def split_overrides(words: Sequence[str]) -> dict[str, list[str]]:
    """`--field a b --other=c` as a mapping from field to words."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            if name in fields:
                raise UserError(f"--{name} is given twice: give it once")
            current = fields[name] = [value] if equals else []
        elif current is None:
            raise UserError(f"unexpected argument {word!r}: fields are set with --FIELD VALUE")
        else:
            current.append(word)
    return fields


def describe_fields(experiment: Experiment) -> str:
    """The help of one experiment: its summary, presets and fields, those of nested configs in groups of their own."""
    lines = [f"{experiment.name}: {experiment.summary}", "", f"presets: {', '.join(experiment.presets) or 'quick'}", ""]
    width = max((len(option(path)) for path, _ in leaves(experiment.fields)), default=0) + 2
    lines += ["fields:", *_describe(experiment.fields, "", width)]
    return "\n".join([*lines, "", "also: --preset, --out, --resume, --devices, --describe; see jaxrl-suite run --help"])


def _describe(fields: Sequence[Field], prefix: str, width: int) -> list[str]:
    lines = []
    for field in sorted(fields, key=lambda field: bool(field.fields)):
        about, path = f"; {field.comment}" if field.comment else "", prefix + field.name
        if field.fields:
            lines += ["", f"{path}{about.replace(';', ':', 1)}", *_describe(field.fields, f"{path}.", width)]
        else:
            default = f" (default: {field.default})" if field.default else ""
            lines.append(f"  {option(path):{width}}{field.type}{default}{about}")
    return lines


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def named_experiment(argv: Sequence[str]) -> str | None:
    """The NAME among the words after `run`: the first that is no option and no option's value."""
    taking = {a for action in _run_actions() if action.nargs != 0 for a in action.option_strings}
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in taking
        else:
            return word
    return None


def _run_actions() -> list[argparse.Action]:
    commands = next(a for a in make_parser()._actions if a.dest == "command")
    return commands.choices["run"]._actions  # pyright: ignore
