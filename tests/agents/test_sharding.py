"""Runs `sharded.py` in a process of two devices."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_batch_split_over_two_devices_gives_the_same():
    """Sampling, update, priorities, acting and diagnostics, of one agent of each family."""
    names = ["planet", "dreamer_v1", "tdmpc"]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-m", "agents.sharded", *names]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.split() == names
