"""Runs that are killed, suspended and out of disk at random moments, compared with undisturbed ones: make soak.

Every case trains twice with the same command: undisturbed, and with accidents, after each of which the same command is
given again. At the end metrics, episodes and the newest checkpoint must be equal, bit for bit. `memory` trains without
accidents for longer and measures the growth of resident memory.

Results are results/soak/CASE.json, written as each case ends; the tables are in docs/reliability.md. `--tables` only
rebuilds these. A full disk needs root, to mount a small one in memory.
"""

import argparse
import datetime
import json
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import accidents
import harness
from accidents import ROOT, Kind, Training, rows_of
from compare_runs import Comparison, compare

from latentplan.driver.logging import METRICS_FILE, read_metrics
from latentplan.driver.memory import resident_bytes
from latentplan.driver.provenance import hardware

RESULTS = ROOT / "results" / "soak"
PAGE = ROOT / "docs" / "reliability.md"
MARKS = "<!-- make soak: begin -->\n", "<!-- make soak: end -->\n"
_PENDULUM = "--env Pendulum-v1 --obs state --preset debug --action-repeat 10"
_PIXELS = "--env cartpole_balance --preset debug --action-repeat 50"
CASES = {
    "state": (_PENDULUM, 200),
    "pixels": (_PIXELS, 1000),
    "prioritised replay": (f"{_PENDULUM} --agent tdmpc --replay.priority-exponent 0.6", 200),
    "overlap": (f"{_PENDULUM} --overlap", 200),
    "three environments": (f"{_PENDULUM} --num-envs 3", 600),
    "interleaved learning": (f"{_PENDULUM} --agent tdmpc2 --updates-per-decision 0.2 --interleave", 200),
    "dreamer_v3": (f"{_PENDULUM} --agent dreamer_v3", 200),
}
"""Options of `latentplan train`, and the env_steps of an episode in every environment."""
MEMORY = {"memory, state": "state", "memory, pixels": "pixels", "memory, three environments": "three environments"}
COUNTS: dict[Kind, int] = {"kill": 20, "worker": 3, "suspend": 2, "disk": 3}
"""Accidents of a case, unless told otherwise."""
WARM, LAST = 50, 50  # episodes: compared are the 50 after the first 50 with the last 50
_MIB = 2**20


def main() -> int:
    """The command line; see --help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*CASES, *MEMORY]
    parser.add_argument("cases", nargs="*", help=f"default: all of {', '.join(names)}")
    parser.add_argument(
        "--episodes", type=harness.positive, default=120, help="in every environment; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the accidents; default: %(default)s")
    for kind, count in COUNTS.items():
        about = f"{accidents.KINDS[kind]}, per case; default: %(default)s"
        parser.add_argument(f"--{kind}s", type=int, default=count, help=about)
    parser.add_argument("--memory-episodes", type=harness.positive, default=250, help="default: %(default)s")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(names):
        parser.error(f"cases: expected some of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    if options.memory_episodes < WARM + 2 * LAST:
        parser.error(f"--memory-episodes: expected at least {WARM + 2 * LAST}, got {options.memory_episodes}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes and disks are cleared away
    machine, failures = hardware(), []  # before there are results, which are no change of the program
    for name in () if options.tables else options.cases or names:
        print(f"\n## {name}\n", flush=True)
        measure, episodes = (memory_case, options.memory_episodes) if name in MEMORY else (case, options.episodes)
        try:
            with tempfile.TemporaryDirectory(prefix="latentplan-soak-") as folder:
                row = measure(name, Path(folder), options)
        except accidents.UnexpectedEnd as error:
            print(error, file=sys.stderr)
            failures.append(name)
            continue
        keep(name, {"row": row, "hardware": machine}, episodes)
        write_tables()
        failures += [name] if failed(row) else []
    write_tables()
    print(tables(read_records()))
    print(f"failed: {', '.join(failures)}" if failures else "nothing failed")
    return 1 if failures else 0


def case(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Trains a case undisturbed and with accidents, and compares.

    Args:
        name: in `CASES`.
        folder: an empty one.
        options: the command line's.

    Returns:
        The case's row.
    """
    reference, disk, rng = folder / "undisturbed", folder / "disk", random.Random(f"{options.seed} {name}")
    startup = undisturbed(command(name, reference, options.episodes), reference)
    disk.mkdir()
    counts: dict[Kind, int] = {kind: getattr(options, f"{kind}s") for kind in accidents.KINDS}
    with accidents.small_disk(disk) as problem:
        if problem and counts["disk"]:
            print(f"no full disks, as none can be mounted here ({problem})", flush=True)
            counts["disk"] = 0
        logdir = disk / "run"
        words = command(name, logdir, options.episodes)
        with Training(words, logdir, folder / "output.txt", startup=startup, rng=rng) as training:
            for accident in accidents.plan(counts, rows_of(reference), rng):
                training.suffer(accident)
                print(f"{accident.kind}, row {accident.row}, {accident.during}: {training}", flush=True)
            training.finish()
        return {"case": name} | suffered(training) | equal(compare(reference, logdir))


def suffered(training: Training) -> dict[str, Any]:
    """Columns about accidents."""
    befell = training.befell
    doing = ", ".join(f"{befell[doing]} {doing}" for doing in ("starting", "saving", "working"))
    return {
        "kill -9": f"{befell['kill']} ({doing})",
        "environment killed": befell["worker"],
        "suspended": befell["suspend"],
        "disk full": befell["disk"],
        "starts": training.starts,
    }


def equal(found: Comparison) -> dict[str, Any]:
    """Columns about what was compared; the last one, which names what is not equal, is there only if something is."""
    counts = {"rows of metrics": found.rows, "episodes": found.episodes}
    counts |= {"differing": len(found.differing), "lost": len(found.lost)}
    return counts | ({"which": "; ".join(found.differing + found.lost)} if found.differing or found.lost else {})


def failed(row: dict[str, Any]) -> bool:
    """Whether a row breaks a promise: something differs or is lost, or memory grows by 1 % or more."""
    grown = [float(value.rstrip("%")) for name, value in row.items() if name.endswith("growth")]
    return "which" in row or max(grown, default=0.0) >= 1.0


def command(name: str, logdir: Path, episodes: int) -> list[str]:
    """The training command of a case."""
    options, length = CASES[name]
    run = {"env-steps": episodes, "eval-every": max(1, episodes // 8), "checkpoint-every": 4}
    lengths = [word for option, count in run.items() for word in (f"--{option}", str(count * length))]
    return [sys.executable, "experiments/run.py", *options.split(), *lengths, "--logdir", str(logdir)]


def undisturbed(words: list[str], logdir: Path, watch: Callable[[int], None] = lambda pid: None) -> float:
    """Trains without accidents.

    Args:
        words: the command.
        logdir: the run's folder.
        watch: called with the process's id a few times a second.

    Returns:
        Seconds until the first row of metrics.
    """
    started, startup = time.monotonic(), 0.0
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            while process.poll() is None:
                if not startup and rows_of(logdir):
                    startup = time.monotonic() - started
                watch(process.pid)
                time.sleep(0.2)
        finally:
            process.kill()
    if process.returncode:
        raise accidents.UnexpectedEnd(f"{shlex.join(words)}: expected status 0, got {process.returncode}")
    return startup


def memory_case(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Trains without accidents; compares resident memory, episode by episode, early and late in the run.

    Args:
        name: in `MEMORY`.
        folder: an empty one.
        options: the command line's.

    Returns:
        The case's row.
    """
    logdir, environments = folder / "run", list[tuple[int, float]]()

    def watch(pid: int) -> None:
        collected = len(list((logdir / "episodes").glob("*.npz")))
        resident = [resident_bytes(child) or 0 for child in accidents.environment_processes(pid)]
        environments.append((collected, sum(resident)))

    undisturbed(command(MEMORY[name], logdir, options.memory_episodes), logdir, watch)
    rows = [row for row in read_metrics(logdir / METRICS_FILE) if "collect/return" in row]
    process = [(row["episodes"], row["memory/resident"] * 2**30) for row in rows]
    told = {"case": name, "episodes": rows[-1]["episodes"]}
    return told | growth("process", process) | growth("environments", environments)


def growth(whose: str, samples: Sequence[tuple[int, float]]) -> dict[str, str]:
    """Columns about the growth of memory.

    Args:
        whose: the columns' name.
        samples: (episodes so far, bytes).

    Returns:
        The medians in MiB over the compared episodes, and the growth from one to the other.
    """
    last = samples[-1][0]
    early = statistics.median(size for episode, size in samples if WARM < episode <= WARM + LAST)
    late = statistics.median(size for episode, size in samples if last - LAST < episode <= last)
    return {f"{whose}, MiB": f"{early / _MIB:.1f} to {late / _MIB:.1f}", f"{whose}, growth": f"{late / early - 1:+.2%}"}


def keep(name: str, record: dict[str, Any], episodes: int) -> None:
    """Writes a case's row and machine, with command and date."""
    words = command(MEMORY.get(name, name), Path("RUN"), episodes)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    record |= {"command": shlex.join(["python", *words[1:]]), "date": date}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{slug(name)}.json").write_text(json.dumps(record, indent=1) + "\n")


def slug(name: str) -> str:
    """A case's name in a file's name."""
    return name.replace(",", "").replace(" ", "-")


def tables(records: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown.

    Args:
        records: the content of results/soak by case, in the order of the tables.

    Returns:
        A table of the accidents and one of the memory, and below them commands, machines and dates.
    """
    kinds = [[record for name, record in records.items() if (name in MEMORY) == memory] for memory in (False, True)]
    parts = [harness.table([record["row"] for record in kind]) for kind in kinds if kind]
    parts.append("\n".join(f"- {name}: `{record['command']}`" for name, record in records.items()))
    where = dict.fromkeys(
        f"{record['hardware']['processor']}, {record['hardware']['device']}; {record['date']}; commit "
        f"{harness.short(record['hardware']['commit'])}"
        for record in records.values()
    )
    return "\n\n".join([*parts, "Measured on " + "; ".join(where) + "."]) if records else ""


def read_records() -> dict[str, dict[str, Any]]:
    """The records in results/soak by case."""
    files = {name: RESULTS / f"{slug(name)}.json" for name in (*CASES, *MEMORY)}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def write_tables() -> None:
    """Rebuilds the tables in docs/reliability.md."""
    text = PAGE.read_text()
    before, after = text.partition(MARKS[0])[0], text.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n{tables(read_records())}\n\n{MARKS[1]}{after}")


if __name__ == "__main__":
    sys.exit(main())
