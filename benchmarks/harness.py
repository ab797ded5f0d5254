"""Shared benchmark code: interleaved timing, the machine's peak throughput, tables, JSON, the command line."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CEILING_SIZE = {"cpu": 2048}  # of the square matrices whose products measure peak throughput
ACCELERATOR_CEILING_SIZE = 8192  # large enough to make launch overhead negligible

PAUSE = 0.05  # seconds between timed calls, to let the previous case's threads go to sleep
TOLERATED = 0.05  # fraction of all cores used by other processes above which a result is marked as disturbed


class Seconds(float):
    """The result of a case that times itself in another process."""


class Timing(NamedTuple):
    """One case's times.

    Attributes:
        first: seconds of the first call, compilation included.
        median: seconds, of the later calls.
        low: seconds, the fastest.
        high: seconds, the slowest.
        calls: number of calls after the first.
    """

    first: float
    median: float
    low: float
    high: float
    calls: int


def in_turns(cases: dict[str, Callable[[], Any]], *, rounds: int, seconds: float = 20.0) -> dict[str, Timing]:
    """Times several functions interleaved, so that disturbances of the machine affect all of them.

    Args:
        cases: functions that return when their work is done; each call's time is one sample. Or functions that
            return `Seconds`, which is the sample then.
        rounds: calls of each, after a first one that compiles. Four times as many while less than `seconds` have
            passed, for cases that are short.
        seconds: see `rounds`.

    Returns:
        The times of each.
    """
    first = {name: seconds_of(case) for name, case in cases.items()}
    samples: dict[str, list[float]] = {name: [] for name in cases}
    started = time.monotonic()
    for turn in range(4 * rounds):
        if turn >= rounds and time.monotonic() - started > seconds:
            break
        for name, case in cases.items():
            time.sleep(PAUSE)
            samples[name].append(seconds_of(case))
    return {
        name: Timing(first[name], statistics.median(times), min(times), max(times), len(times))
        for name, times in samples.items()
    }


def seconds_of(case: Callable[[], Any]) -> float:
    """Duration of one call, in seconds."""
    started = time.perf_counter()
    told = case()
    return told if isinstance(told, Seconds) else time.perf_counter() - started


def matrix_products(dtype: str = "float32") -> tuple[Callable[[], Any], float]:
    """The ceiling: square matrix products by XLA, as a case for `in_turns`, and their operations (2 size^3 each).

    Four follow each other in one program: after a case that used gigabytes, getting memory for one alone took as long
    as half the product.
    """
    import jax
    import jax.numpy as jnp

    from latentplan.driver.compilation import compiled

    size = CEILING_SIZE.get(jax.default_backend(), ACCELERATOR_CEILING_SIZE)
    matrix = jnp.full((size, size), 1 / size, dtype)
    products = compiled(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: y @ x, x))
    return lambda: jax.block_until_ready(products(matrix)), 4 * 2.0 * size**3


class Result(NamedTuple):
    """The result of a benchmark.

    Attributes:
        rows: one dictionary per line of the table; numbers stay numbers.
        ratios: the key ratios by name.
        notes: remarks required to interpret the numbers.
        timed: whether the numbers are times, which other load on the machine affects.
    """

    rows: list[dict[str, Any]]
    ratios: dict[str, float]
    notes: Sequence[str] = ()
    timed: bool = True


def main(
    name: str, description: str, arguments: Callable[[argparse.ArgumentParser], None], run: Callable[..., Result]
) -> int:
    """A benchmark's command line: runs it, prints its table and ratios, and optionally writes JSON.

    Args:
        name: of the benchmark.
        description: for --help.
        arguments: adds the benchmark's own arguments.
        run: (parsed arguments) -> Result.

    Returns:
        Exit status.
    """
    from latentplan.driver.provenance import hardware

    raw = argparse.RawDescriptionHelpFormatter  # keeps the examples' lines
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    parser.add_argument("--json", type=Path, help="write the result to this file as well")
    arguments(parser)
    options = parser.parse_args()
    before = _cpu_seconds()
    try:
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            if options.json.is_dir() or not os.access(options.json.parent, os.W_OK):
                raise OSError(f"--json: expected a writable file, got {options.json}")
        result = run(options)
    except (ValueError, OSError, RuntimeError) as error:
        parser.error(f"{type(error).__name__}: {error}")
    record = {
        "benchmark": name,
        "command": ["python", *sys.argv],
        "hardware": hardware(),
        "rows": result.rows,
        "ratios": result.ratios,
        "notes": list(result.notes),
        "other work": _other_work(before) if result.timed else None,
    }
    print(render(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def positive(text: str) -> int:
    """Parses a positive integer argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def short(commit: str) -> str:
    """A commit's abbreviation, and whether there were changes beside it."""
    name, changes, _ = commit.partition("+")
    return name[:9] + (" and changes" if changes else "")


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Seconds on the clock, of all processes on all cores, and of this one and its finished children."""
    try:
        ticks = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    idle = ticks[3] + ticks[4]  # idle and waiting for the disk
    return time.monotonic(), (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def _other_work(before: tuple[float, float, float] | None) -> float | None:
    """The fraction of all cores that other processes have used since."""
    now = _cpu_seconds()
    if before is None or now is None:
        return None
    clock, machine, own = (b - a for a, b in zip(before, now, strict=True))
    return max(0.0, machine - own) / (clock * (os.cpu_count() or 1))


def render(record: dict[str, Any]) -> str:
    """A result as Markdown: the table, where it was measured, the ratios, the notes."""
    notes = "".join(f"- {note}\n" for note in record["notes"])
    return f"{table(record['rows'])}\n\n{ratios(record)}{notes}"


def ratios(record: dict[str, Any]) -> str:
    """A result's summary as Markdown: hardware, ratios, other load on the machine."""
    hardware = record["hardware"]
    lines = [f"{hardware['processor']}, {hardware['device']}; commit {short(hardware['commit'])}", ""]
    lines += [f"- {name}: {_shown(value)}" for name, value in record["ratios"].items()]
    if (other := record.get("other work")) is not None:
        disturbed = "; too much to trust the numbers" if other > TOLERATED else ""
        lines.append(f"- other work on the machine, of all its cores: {other:.0%}{disturbed}")
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as an aligned Markdown table; the columns are those of all rows in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_shown(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)) + " |"

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, cells)])


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
