"""Runs `sharded.py` in a process of two devices."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

FAMILIES = ("planet", "dreamer_v1", "tdmpc")
EVERYTHING = {":".join(pair) for pair in itertools.product(FAMILIES, ("learning", "acting", "diagnostics"))}
# Learning differs by family, TD-MPC samples by priorities; what acts is a planner or a policy; one has all diagnostics.
ALWAYS = {"planet:learning", "dreamer_v1:learning", "tdmpc:learning", "planet:acting", "dreamer_v1:diagnostics"}


@pytest.mark.parametrize("chosen", [ALWAYS, pytest.param(EVERYTHING - ALWAYS, marks=pytest.mark.slow)])
def test_a_batch_split_over_two_devices_gives_the_same(chosen):
    """Sampling, update and priorities; acting; diagnostics."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-m", "agents.sharded", *sorted(chosen)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.split() == sorted(chosen)
