"""What tests of programs share: a sandbox, where this machine has one."""

import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    try:
        made = Sandbox(workers=2)
    except UserError as error:
        pytest.skip(str(error))
    with made:
        yield made
