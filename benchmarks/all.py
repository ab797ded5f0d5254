"""Runs every benchmark that fits this machine and writes the tables: python benchmarks/all.py [NAME...].

Results are results/benchmarks/DEVICE-NAME.json, the tables results/benchmarks/README.md, which is a page of the site,
too. `--tables` only rebuilds the tables from the JSON files.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import harness

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "benchmarks"

CPU = {
    "planner": ("planner.py", "--sizes", "paper", "cpu"),
    "planner-tdmpc2": ("planner.py", "--sizes", "tdmpc2-5M", "--planner", "mppi"),
    "planner_quality": ("planner_quality.py",),
    "update": ("update.py", "--sizes", "paper", "cpu"),
    "update-tdmpc2": ("update.py", "--sizes", "tdmpc2-5M", "--obs", "state"),
    "update-dreamer_v3": ("update.py", "--sizes", "dreamer_v3-1M", "dreamer_v3-12M", "--obs", "state"),
    "update-dreamer": ("update.py", "--sizes", "dreamer_v1", "dreamer_v2", "--obs", "state"),
    "imagine": ("imagine.py", "--gradient"),
    "env": ("env.py", "--picture", "results/benchmarks/render_quality.png"),
    "loop": ("loop.py",),
}
GPU = {
    "update-dreamer_v3": ("update.py", "--sizes", "dreamer_v3-12M", "--rounds", "10"),
    "update-dreamer_v3-bfloat16": ("update.py", "--sizes", "dreamer_v3-12M", "--rounds", "10", "--dtype", "bfloat16"),
    "update-dreamer": ("update.py", "--sizes", "dreamer_v1", "dreamer_v2", "--rounds", "10"),
    "update-tdmpc2": ("update.py", "--sizes", "tdmpc2-5M", "--obs", "state", "--rounds", "10"),
    "planner-tdmpc2": ("planner.py", "--sizes", "tdmpc2-5M", "--planner", "mppi", "--rounds", "10"),
    "update": ("update.py", "--sizes", "paper", "--rounds", "10", "--parts"),
    "planner": ("planner.py", "--sizes", "paper"),
    "imagine": ("imagine.py", "--gradient", "--rounds", "20"),
    "update-bfloat16": ("update.py", "--sizes", "paper", "--rounds", "10", "--dtype", "bfloat16"),
    "planner-bfloat16": ("planner.py", "--sizes", "paper", "--dtype", "bfloat16"),
    "env": ("env.py",),
    "loop": ("loop.py", "--preset", "paper"),
    "loop-overlap": ("loop.py", "--preset", "paper", "--overlap"),
}
PEERS = ("planner", "update", "planner-tdmpc2", "update-tdmpc2", "planner-bfloat16", "update-bfloat16")


def main() -> int:
    """The command line; see --help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all; on CPU {', '.join(CPU)}; on a GPU {', '.join(GPU)}")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    options = parser.parse_args()
    failed = [] if options.tables else measure(options.names)
    write_tables()
    if failed:
        print(f"failed: {', '.join(failed)}; the other results are written", file=sys.stderr)
    return 1 if failed else 0


def measure(names: list[str]) -> list[str]:
    """Runs benchmarks one after another, each in a process of its own; beside PyTorch where it is installed.

    Returns:
        The names of those that failed.
    """
    import jax

    device = jax.devices()[0]
    programs = CPU if device.platform == "cpu" else GPU
    if unknown := set(names) - set(programs):
        raise SystemExit(f"names: expected some of {', '.join(programs)}, got {', '.join(sorted(unknown))}")
    label = "cpu" if device.platform == "cpu" else device.device_kind.lower().replace(" ", "-")
    peer = ("--peer", "torch-compile") if importlib.util.find_spec("torch") else ()
    failed = []
    for name in names or programs:
        program, *arguments = programs[name]
        arguments += peer if name in PEERS else ()
        file = RESULTS / f"{label}-{name}.json"
        print(f"\n## {name}\n", flush=True)
        command = [sys.executable, f"benchmarks/{program}", *arguments, "--json", str(file.relative_to(ROOT))]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    return failed


def write_tables() -> None:
    """Rebuilds results/benchmarks/README.md."""
    records = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    head = "# Benchmarks\n\nWritten by `python benchmarks/all.py`; the same numbers and more are in the JSON files.\n\n"
    tables = [
        f"## {name}\n\n`{' '.join(record['command'])}`\n\n{harness.render(record)}" for name, record in records.items()
    ]
    (RESULTS / "README.md").write_text(head + "\n".join(tables))


if __name__ == "__main__":
    sys.exit(main())
