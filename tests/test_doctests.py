"""The examples in the docstrings run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "src" / "latentplan"
NOT_RUN = {
    "latentplan.envs.workers",  # starts processes, which would import the test runner again
    "latentplan.runs.policy",  # reads the folder of a run
    "latentplan.runs.run",  # likewise
}


def modules_with_examples() -> list[str]:
    paths = sorted(path for path in LIBRARY.rglob("*.py") if ">>>" in path.read_text())
    names = [".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def test_modules_excluded_from_doctests_exist():
    assert set(modules_with_examples()) >= NOT_RUN


def test_examples_have_the_heading_that_the_site_knows():
    assert not [
        str(path) for path in LIBRARY.rglob("*.py") if re.search(r"^ *Example:$", path.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("name", [name for name in modules_with_examples() if name not in NOT_RUN])
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
