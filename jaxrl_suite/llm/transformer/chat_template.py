"""Chat templates: the Jinja sources that models bring to write a chat as one text, and the environment they expect.

That is the one of `transformers`: blocks trimmed, loop controls, a `generation` tag without effect, `tojson` that
escapes no HTML, `strftime_now`, `tools` and `documents` that are None, and the names of special tokens.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Message

FILE = "chat_template.jinja"


def render(template: str, messages: Sequence[Message], special: Mapping[str, str]) -> str:
    """The text of a chat, up to where the assistant answers.

    Args:
      template: Jinja source.
      messages: the chat.
      special: names such as `eos_token`, and the tokens they stand for.

    Raises:
      UserError: if the template is no Jinja, refuses the chat, or does what a template may not.
    """
    import jinja2

    try:
        chat = [message._asdict() for message in messages]
        return _compiled(template).render(
            messages=chat, tools=None, documents=None, add_generation_prompt=True, **special
        )
    except jinja2.TemplateError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the model's chat template refuses this chat: {reason}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the model's chat template cannot write this chat ({reason}): give a text instead") from None


def find(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The template of a model folder: a file of its own goes before the one in tokenizer_config.json.

    Args:
      folder: of the model.
      settings: of tokenizer_config.json, where it is a text, or a list of named ones, of which `default` is meant.

    Raises:
      UserError: if there are several templates and none is the default, or one cannot be read.
    """
    if (path := folder / FILE).exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}; download it again") from None
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        if "default" not in named:
            raise UserError(
                f"{folder} has chat templates {', '.join(sorted(named))} and no default: write it to {FILE}"
            )
        template = named["default"]
    if template is not None and not isinstance(template, str):
        raise UserError(f"the chat_template of {folder} is no text: write it to {FILE}")
    return template


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    return _environment().from_string(template)


def _environment() -> Any:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Marks what an assistant said, for training; the text is written as if it were not there."""

        tags = {"generation"}  # noqa: RUF012 (Jinja's own form)

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    world.filters["tojson"] = tojson
    world.globals["raise_exception"] = raise_exception
    world.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return world
