"""JAX's modes, set by environment variables: 64 bits, strict promotion, without jit, with checks for NaN."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentplan.agents import AGENTS

SCRIPT = Path(__file__).parent / "modes.py"


def run(variable: str, value: str, *arguments: str) -> list[str]:
    """The agents that passed."""
    command = [sys.executable, str(SCRIPT), *arguments]
    ended = subprocess.run(command, env=os.environ | {variable: value}, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.split()


@pytest.mark.parametrize(("variable", "value"), [("JAX_ENABLE_X64", "1"), ("JAX_NUMPY_DTYPE_PROMOTION", "strict")])
def test_every_agent_is_traced_with_the_same_dtypes(variable, value):
    """Dtypes are decided while JAX traces, so nothing has to be compiled."""
    assert run(variable, value, "trace") == sorted(AGENTS)


@pytest.mark.parametrize("variable", ["JAX_DISABLE_JIT", "JAX_DEBUG_NANS"])
@pytest.mark.parametrize(
    "agent", [name if name == "planet" else pytest.param(name, marks=pytest.mark.slow) for name in sorted(AGENTS)]
)
def test_an_agent_acts_and_learns_without_jit_and_without_nan(agent, variable):
    assert run(variable, "1", "run", agent) == [agent]
