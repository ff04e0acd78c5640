"""Problems for small language models: a generator, tokens, and an exact verifier, all pure functions on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.envs.tasks.modchain import ModChain as ModChain
    from jaxrl_suite.envs.tasks.tokens import Example as Example
    from jaxrl_suite.envs.tasks.tokens import Text as Text
    from jaxrl_suite.envs.tasks.tokens import TokenTask as TokenTask
    from jaxrl_suite.envs.tasks.tokens import Verdict as Verdict
    from jaxrl_suite.envs.tasks.tokens import example as example
    from jaxrl_suite.envs.tasks.tokens import pad_rows as pad_rows

_HOME = {
    "Example": "tokens",
    "ModChain": "modchain",
    "Text": "tokens",
    "TokenTask": "tokens",
    "Verdict": "tokens",
    "example": "tokens",
    "pad_rows": "tokens",
}

__all__ = ["Example", "ModChain", "Text", "TokenTask", "Verdict", "example", "pad_rows"]

__getattr__ = lazy_names(__name__, _HOME)
