"""Checks this machine for training, and suggests fixes for what does not work.

    latentplan doctor

Exit status 0 when training from pixels is possible here, 1 otherwise.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from latentplan.envs import gl

PACKAGES = (
    *("latentplan", "jax", "jaxlib", "flax", "optax", "distrax", "chex", "orbax-checkpoint", "flashbax"),
    *("gymnasium", "shimmy", "dm_control", "mujoco", "numpy"),
)
COMMAND_LINE = ("tyro", "rich", "matplotlib", "pygame")
JAX_TIMEOUT_S = 120.0
FRAME_TIMEOUT_S = 60.0

_JAX = """
import json, time
import jax, jax.numpy as jnp
devices = [{"name": str(d), "kind": d.device_kind, "limit": (d.memory_stats() or {}).get("bytes_limit")}
           for d in jax.local_devices()]
started = time.perf_counter()
total = float(jax.jit(lambda a, b: (a @ b).sum())(jnp.ones((64, 32)), jnp.ones((32, 16))))
seconds = time.perf_counter() - started
print(json.dumps({"platform": jax.default_backend(), "devices": devices, "total": total, "seconds": seconds}))
"""

# os._exit: some drivers complain about contexts at interpreter exit; the frames are what counts.
_WALKER = """
import json, os, sys, time
from dm_control import suite
env = suite.load("walker", "walk", task_kwargs={"random": 0})
env.reset()
frame = env.physics.render(64, 64, camera_id=0)
started, frames = time.perf_counter(), 0
while frames < 10 or (frames < 1000 and time.perf_counter() - started < 0.5):
    env.physics.render(64, 64, camera_id=0)
    frames += 1
rate = frames / (time.perf_counter() - started)
print(json.dumps({"contrast": float(frame.std()), "rate": rate}), flush=True)
os._exit(0)
"""


class Section(NamedTuple):
    """One part of the report.

    Attributes:
        title: its heading.
        rows: (what, how it is).
        to_do: fixes required for training from pixels.
        hints: optional improvements.
    """

    title: str
    rows: list[tuple[str, str]]
    to_do: list[str]
    hints: list[str]


def versions() -> Section:
    """Python and the main packages."""
    rows = [("Python", platform.python_version())]
    to_do: list[str] = []
    hints = []
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        hints.append("Videos are left out without ffmpeg: pip install 'latentplan[video]'.")
    for package in (*PACKAGES, *COMMAND_LINE):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
            extra = "[cli]" if package in COMMAND_LINE else ""
            to_do.append(f"Install {package}: uv sync, or pip install 'latentplan{extra}'.")
        if package == "mujoco" and version.startswith("4."):
            to_do.append(f"mujoco {version} does not work with dm_control: pip install 'mujoco<4'.")
        rows.append((package, version))
    return Section("Versions", rows, to_do, hints)


def machine() -> Section:
    """Processor cores and free memory, as this process may use them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [("system", platform.platform()), ("CPU cores", str(cores)), ("free memory", _free_memory())]
    return Section("Machine", rows, [], [])


def jax_devices() -> Section:
    """JAX's devices and memory policy, and whether a jitted matrix product comes out right."""
    output, problem = gl.run_python(_JAX, JAX_TIMEOUT_S)
    if problem:
        advice = f"JAX does not work: {problem}. On a machine without a GPU: JAX_PLATFORMS=cpu."
        return Section("JAX", [("state", f"FAILED: {problem}")], [advice], [])
    found = json.loads(output.splitlines()[-1])
    rows = [(device["name"], f"{device['kind']}, {_gib(device['limit'])}") for device in found["devices"]]
    rows.append(("memory policy", _memory_policy(found["platform"])))
    right = found["total"] == 64 * 32 * 16
    rows.append(
        ("jitted matmul", f"ok, {found['seconds']:.2f} s with compilation" if right else "FAILED: wrong result")
    )
    to_do = [] if right else ["JAX computes wrong results here: reinstall jax and jaxlib, update the device's driver."]
    hints = []
    if found["platform"] == "cpu" and Path("/dev/nvidia0").exists():
        hints.append("There is an NVIDIA GPU that JAX does not see: pip install 'latentplan[cuda]'.")
    return Section("JAX", rows, to_do, hints)


def opengl() -> Section:
    """Each OpenGL back end, tried on a frame of walker in a process of its own."""
    chosen = gl.choose_backend()
    rates = {backend: walker_frames(backend) for backend in gl.BACKENDS}
    rows = [("in use", f"{chosen} (MUJOCO_GL={os.environ.get('MUJOCO_GL', 'unset')})")]
    rows += [
        (backend, f"ok, {rate:.0f} frames/s at 64 x 64" if rate else f"no: {problem}\n{_fix(backend)}")
        for backend, (rate, problem) in rates.items()
    ]
    to_do = []
    if chosen not in rates or not rates[chosen][0]:
        working = [backend for backend, (rate, _) in rates.items() if rate]
        if working:
            to_do.append(f"OpenGL back end {chosen} does not work: set MUJOCO_GL={working[0]}, which does.")
        else:
            to_do.append(f"No OpenGL back end works, so no pixels: {gl.INSTALL['egl']} (or use state observations).")
    return Section("OpenGL", rows, to_do, [])


def walker_frames(backend: str) -> tuple[float, str]:
    """Frames per second of walker at 64 x 64 under `backend`, and the problem ("" when there is none)."""
    missing = gl.missing_libraries(backend)
    if missing:
        return 0.0, f"{' and '.join(missing)} cannot be loaded"
    output, problem = gl.run_python(_WALKER, FRAME_TIMEOUT_S, MUJOCO_GL=backend)
    if problem:
        return 0.0, problem
    frame = json.loads(output.splitlines()[-1])
    return (frame["rate"], "") if frame["contrast"] > 1.0 else (0.0, "the frame is blank")


def main(argv: list[str], program: Sequence[str] = ("latentplan", "doctor")) -> int:
    """Prints the report.

    Args:
        argv: nothing, or --help.
        program: its name, as it was typed.

    Returns:
        Exit status: 0 where training from pixels is possible, else 1.
    """
    parser = argparse.ArgumentParser(prog=" ".join(program), description=__doc__.split("\n")[0])
    parser.parse_args(argv)
    to_do: list[str] = []
    hints: list[str] = []
    for section in (versions, machine, jax_devices, opengl):
        found = section()
        print(f"{found.title}\n{_table(found.rows)}\n", flush=True)
        to_do += found.to_do
        hints += found.hints
    for hint in hints:
        print(f"Hint: {hint}")
    if not to_do:
        print("OK: training from pixels works here.")
        return 0
    print("Required before training from pixels works here:")
    for number, item in enumerate(to_do, start=1):
        print(f"  {number}. {item}")
    return 1


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(what) for what, _ in rows)
    return "\n".join(f"  {what:<{width}}  " + how.replace("\n", "\n" + " " * (width + 4)) for what, how in rows)


def _fix(backend: str) -> str:
    return f"to install it: {gl.INSTALL[backend]}"


def _memory_policy(device_platform: str) -> str:
    if device_platform == "cpu":
        return "as needed (CPU)"
    preallocate = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "unset, so true")
    fraction = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "unset, so 0.75")
    return f"XLA_PYTHON_CLIENT_PREALLOCATE {preallocate}; XLA_PYTHON_CLIENT_MEM_FRACTION {fraction}"


def _gib(limit: int | None) -> str:
    return "no memory limit known" if limit is None else f"{limit / 2**30:.1f} GiB for JAX"


def _free_memory() -> str:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return "unknown"
    kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.read_text().splitlines()}
    return f"{kib['MemAvailable'] / 2**20:.1f} of {kib['MemTotal'] / 2**20:.1f} GiB"
