"""Running an agent's diagnostics on evaluation episodes: metrics and pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from latentplan.checks import expect_type
from latentplan.driver.compilation import compiled
from latentplan.driver.logging import RESERVED
from latentplan.driver.pictures import DRAWINGS
from latentplan.types import Diagnostic, Evidence, Key, Measurement, Params, Trajectory

Measure = Callable[[Params, Evidence, Key], Measurement]
_UNIT = 50  # records; evidence is padded to a multiple of it, to limit the number of compiled programs
_LONGEST = 1001  # records; a game's episode may have 27,000


def gather_evidence(
    trajectories: Sequence[Trajectory], *, max_decisions: int | None, context: int, length: int
) -> Evidence:
    """Stacks episodes into a batch, padded with zeros.

    Args:
        trajectories: complete episodes, NumPy arrays.
        max_decisions: the time limit, the maximum padded length; None without a limit.
        context: `Evidence.context`.
        length: `Evidence.length`.

    Returns:
        Evidence of NumPy arrays [T, B, ...], truncated to the first 1,001 records.
    """
    steps = -(-max(len(one.batch.reward) for one in trajectories) // _UNIT) * _UNIT
    steps = min(steps, _LONGEST, _LONGEST if max_decisions is None else max_decisions + 1)

    def side_by_side(*columns: np.ndarray) -> np.ndarray:
        first = columns[0]
        stacked = np.zeros((steps, len(columns), *first.shape[1:]), first.dtype)
        for i, column in enumerate(columns):
            stacked[: len(column), i] = column[:steps]
        return stacked

    together = jax.tree.map(side_by_side, *trajectories)
    return Evidence(together.batch, together.infos, context=context, length=length)


class Diagnosis:
    """An agent's diagnostics, jitted.

    Args:
        diagnostics: the agent's.

    Raises:
        ValueError: a diagnostic has the name of other metrics, or names an unknown drawing.
    """

    def __init__(self, diagnostics: Mapping[str, Diagnostic]) -> None:
        """See the class."""
        self._diagnostics = diagnostics
        self._measures: dict[str, Measure] = {}
        for name, diagnostic in diagnostics.items():
            if name.partition("/")[0] in RESERVED:
                raise ValueError(
                    f"diagnostics: expected names other than {', '.join(RESERVED)}, which metrics have already, got "
                    f"{name!r}; rename it"
                )
            if diagnostic.drawing not in (None, *DRAWINGS):
                known = ", ".join(DRAWINGS)
                raise ValueError(
                    f"diagnostics.{name}.drawing: expected one of {known}, or None, got {diagnostic.drawing!r}; "
                    "add it to DRAWINGS in driver/pictures.py"
                )
            self._measures[name] = compiled(_checked(name, diagnostic.measure))

    def measure(self, params: Params, evidence: Evidence, keys: Sequence[Key]) -> dict[str, Measurement]:
        """Runs all diagnostics on the evidence.

        Args:
            params: the agent's.
            evidence: of one evaluation, NumPy arrays.
            keys: one per diagnostic, in order.

        Returns:
            Name -> Measurement of NumPy arrays, without diagnostics that had nothing to measure.
        """
        found = {}
        for (name, diagnostic), key in zip(self._diagnostics.items(), keys, strict=True):
            selected = diagnostic.select(evidence)
            if selected is not None:
                found[name] = jax.device_get(self._measures[name](params, selected, key))
        return found

    def draw(
        self,
        found: Mapping[str, Measurement],
        directory: Path,
        name: str,
        *,
        context: int,
        fps: float,
        report: Callable[[str], None],
    ) -> None:
        """Writes the pictures of measurements.

        Args:
            found: from `measure`.
            directory: output folder.
            name: suffix of the file names.
            context: number of observed steps before an open-loop prediction.
            fps: frames per second of videos.
            report: called with a message where a picture cannot be made.
        """
        for key, measurement in found.items():
            drawing = self._diagnostics[key].drawing
            if drawing is not None and measurement.picture is not None:
                DRAWINGS[drawing](directory, name, measurement.picture, context=context, fps=fps, report=report)


def _checked(name: str, measure: Measure) -> Measure:
    """A measurement whose result must be a Measurement of scalars and vectors; checked while JAX traces."""

    def measured(params: Params, evidence: Evidence, key: Key) -> Measurement:
        found = measure(params, evidence, key)
        expect_type(f"diagnostics.{name}", found, Measurement, "return Measurement({'name': number})")
        for number, x in found.numbers.items():
            if np.ndim(x) > 1:
                got = f"got {number} {np.shape(x)}; return its mean, or its mean by step"
                raise ValueError(f"diagnostics.{name}: expected numbers that are scalars or vectors, {got}")
        return found

    return measured


def metrics_of(found: Mapping[str, Measurement]) -> dict[str, np.ndarray | float]:
    """The measurements' numbers as metrics: {"DIAGNOSTIC/NAME": scalar or vector}."""
    numbers = {f"{key}/{name}": x for key, one in found.items() for name, x in one.numbers.items()}
    return {name: float(x) if np.ndim(x) == 0 else np.asarray(x) for name, x in numbers.items()}
