"""Benchmark cases, and the rows and ratios of their tables."""

import contextlib
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import harness
import jax
from elsewhere import Elsewhere, elsewhere

from latentplan.driver.compilation import configure


class Case(NamedTuple):
    """A function to time.

    Attributes:
        labels: the first columns of its row; together they form its name.
        call: runs it once and blocks until done.
        operations: floating-point operations of one call; 0 if not counted.
        amounts: units of work per call, by name in the plural.
    """

    labels: dict[str, Any]
    call: Callable[[], Any]
    operations: float
    amounts: dict[str, float]

    @property
    def name(self) -> str:
        """Its labels as one string."""
        return ", ".join(map(str, self.labels.values()))


def arguments(parser: ArgumentParser, *, rounds: int) -> None:
    """Arguments shared by the benchmarks of networks; `rounds` is its default."""
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the networks")
    parser.add_argument("--rounds", type=harness.positive, default=rounds, help="timed calls of each case, at least")
    parser.add_argument("--peer", choices=("torch", "torch-compile"), help="plain PyTorch, or also compiled by it")


def run(
    make_cases: Callable[[Namespace, Elsewhere | None], Iterable[Case]], options: Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """Builds the cases as a training process would, but for the cache of compiled programs, and measures them.

    Args:
        make_cases: (options, the peer's process or None) -> cases.
        options: parsed; see `arguments`.

    Returns:
        (rows, notes): from `measure`; and what has to be read with them.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs memory, too
    jax.config.update("jax_enable_compilation_cache", False)  # so that first calls compile
    configure()
    notes = [f"networks in {options.dtype}"]
    with elsewhere() if options.peer else contextlib.nullcontext() as peer:
        if peer:
            notes.append(peer.call("peer_torch:configure", jax.default_backend()))
        rows = measure(list(make_cases(options, peer)), rounds=options.rounds, dtype=options.dtype)
    return rows, notes


def measure(cases: Sequence[Case], *, rounds: int, dtype: str) -> list[dict[str, Any]]:
    """Times cases, interleaved with matrix products that measure the machine's peak throughput.

    Args:
        cases: of one benchmark.
        rounds: timed calls of each, after the first one.
        dtype: of the matrix products.

    Returns:
        One row per case and one for the matrix products: labels, milliseconds (median, fastest, slowest), seconds of
        the first call, amounts per second, and where operations are counted GFLOP, GFLOP/s and share of the ceiling.
    """
    products, operations = harness.matrix_products(dtype)
    label = next(iter(cases[0].labels))
    cases = [*cases, Case({label: f"matrix products, {dtype}"}, products, operations, {})]
    timings = harness.in_turns({case.name: case.call for case in cases}, rounds=rounds)
    ceiling = operations / timings[cases[-1].name].median
    return [case.labels | _columns(case, timings[case.name], ceiling) for case in cases]


def _columns(case: Case, timing: harness.Timing, ceiling: float) -> dict[str, float]:
    times = {"ms": timing.median, "fastest": timing.low, "slowest": timing.high}
    columns = {name: 1e3 * seconds for name, seconds in times.items()} | {"first call, s": timing.first}
    columns |= {f"{name}/s": amount / timing.median for name, amount in case.amounts.items()}
    if case.operations:
        rate = case.operations / timing.median
        columns |= {"GFLOP": case.operations / 1e9, "GFLOP/s": rate / 1e9, "of ceiling": rate / ceiling}
    return columns


def against_peers(rows: list[dict[str, Any]], column: str, name: Callable[[dict[str, Any]], str]) -> dict[str, float]:
    """Ratios of this project's values in a column to those of every other implementation.

    Args:
        rows: from `measure`.
        column: which.
        name: (row) -> what is compared in it; rows of the same name are.

    Returns:
        Ratios by "latentplan / peer, name".
    """
    ours = {name(row): row for row in rows if row.get("implementation") == "latentplan"}
    return {
        f"latentplan / {row['implementation']}, {name(row)}": ours[name(row)][column] / row[column]
        for row in rows
        if row.get("implementation") not in (None, "latentplan")
    }


def of_ceiling(rows: list[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> dict[str, float]:
    """Fractions of the machine's peak throughput that this project's rows reach.

    Args:
        rows: from `measure`.
        name: (row) -> what was measured.

    Returns:
        Shares by "of the ceiling, name".
    """
    return {
        f"of the ceiling, {name(row)}": row["of ceiling"]
        for row in rows
        if row.get("implementation") == "latentplan" and "of ceiling" in row
    }
