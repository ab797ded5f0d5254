"""A finished or running experiment as one object: config, agent, parameters, metrics and episodes."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from numpy.typing import ArrayLike

from latentplan.agents import make_agent
from latentplan.driver.checkpoint import Checkpoints, Metadata
from latentplan.driver.logging import COUNTERS, KINDS, METRICS_FILE, RESERVED, Row, read_metrics
from latentplan.driver.provenance import from_dict
from latentplan.driver.schedule import Progress
from latentplan.extensions import check_imported
from latentplan.planners import PlannerConfig
from latentplan.presets import Experiment
from latentplan.replay.episodes import CorruptEpisode, read_episode
from latentplan.runs import earlier
from latentplan.runs.folder import Description, Segment, read_description
from latentplan.runs.policy import StatefulPolicy, export_policy
from latentplan.types import Agent, Batch, EnvSpec, Params, Planner, WorldModel

Part = TypeVar("Part")
_PARAMS = "['train_state'].params"
_MEASURED = ("evaluation", "held_out")
"""The kinds that come with what diagnostics measured: all that is of no kind, whatever registered it."""


def load_run(logdir: str | Path) -> "Run":
    """Opens the folder of a finished or running experiment, read-only.

    No environment is started and nothing is written, so the folder may be moved, copied or read-only. Everything but
    config.json is read lazily. The folder is data, and nothing in it is executed: the caller imports the extensions of
    the run before its config, agent or parameters are read. Folders of 0.1.0 are supported.

    Args:
        logdir: the run's folder, with its config.json; "~" is the home directory.

    Returns:
        Run.

    Raises:
        ValueError: the folder holds no run, or its config.json cannot be read.

    Examples:
        >>> run = load_run("runs/walker_walk-planet-cpu-pixels-seed0")  # doctest: +SKIP
        >>> params = run.params()  # doctest: +SKIP
        >>> plan = run.planner(params, run.model.initial(()), jax.random.key(0))  # doctest: +SKIP
        >>> run.metrics["evaluation"]["return"][-1]  # doctest: +SKIP
        853.0
    """
    logdir = Path(logdir).expanduser()
    return Run(logdir, read_description(logdir))


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's folder, read lazily.

    Attributes:
        logdir: the folder.
        description: the content of its config.json.
    """

    logdir: Path
    description: Description = dataclasses.field(repr=False)

    @property
    def segments(self) -> list[Segment]:
        """Command, commit, hardware and versions of each segment of the run; several if it was resumed."""
        return self.description.segments

    @cached_property
    def config(self) -> Experiment:
        """The experiment: environment, agent, schedule and replay memory, with every setting.

        Raises:
            ValueError: the config was written by an unsupported version, or has a value that is none. `NotImported`: an
                extension that the run imported is not imported in this process.
        """
        check_imported(self.description.config["imports"])
        return from_dict(Experiment, self.description.config)

    @cached_property
    def spec(self) -> EnvSpec:
        """The spec of the run's environment.

        Raises:
            ValueError: a folder of 0.1.0, which does not say it, holds no episode to tell it from.
        """
        held = self.description.spec
        return earlier.spec(self.logdir, self.description.config) if held is None else EnvSpec.from_fields(held)

    @cached_property
    def agent(self) -> Agent:
        """The agent, as pure functions of `params()`."""
        return make_agent(self.config.agent_config, self.spec)

    @property
    def model(self) -> WorldModel:
        """The agent's world model; its functions take `params()`.

        Raises:
            ValueError: the agent has none.
        """
        return self._part(self.agent.model, "world model")

    @property
    def planner(self) -> Planner:
        """The agent's planner: (params(), belief, key) -> PlanOutput, for one belief.

        Raises:
            ValueError: the agent has none.
        """
        return self._part(self.agent.planner, "planner")

    def with_planner(self, config: PlannerConfig) -> Agent:
        """The agent with another planner over the same parameters.

        Args:
            config: the planner's.

        Returns:
            Agent.
        """
        return make_agent(dataclasses.replace(self.config.agent_config, planner=config), self.spec)

    @property
    def checkpoints(self) -> dict[int, Progress]:
        """The available checkpoints, oldest first: number -> counters (env_steps, updates, ...)."""
        return {step: _progress(held) for step, held in self._checkpoints().metadata().items()}

    def params(self, step: int | None = None) -> Params:
        """The agent's parameters.

        Args:
            step: the number of a checkpoint in `checkpoints`; None for the newest intact one.

        Returns:
            The pytree that `agent.act`, `model` and `planner` take, on the default device.

        Raises:
            ValueError: there is no such checkpoint, or none that can be read.
        """
        return self.restore(step)[0]

    def restore(self, step: int | None = None) -> tuple[Params, Progress]:
        """The parameters, as from `params`, and the counters of that checkpoint."""
        template = jax.eval_shape(self.agent.init, jax.random.key(0)).params
        found = self._checkpoints().restore(template, warnings.warn, part=_PARAMS, step=step)
        if found is None:
            kept = ", ".join(f"{n} ({held.env_steps} env_steps)" for n, held in self.checkpoints.items()) or "none"
            raise ValueError(
                f"checkpoint: expected {'one' if step is None else f'number {step}'} that can be read in "
                f"{self.logdir / 'checkpoints'}, got {kept}"
            )
        params, metadata = found
        return params, _progress(metadata)

    def policy(self, step: int | None = None, *, seed: int = 0) -> StatefulPolicy:
        """The trained agent as `policy(observation, is_first) -> action`, for one environment.

        Args:
            step: the number of a checkpoint; None for the newest.
            seed: of the random numbers of planning.

        Returns:
            StatefulPolicy, compiled.
        """
        return StatefulPolicy(self.agent, self.spec, self.params(step), seed=seed)

    def export_policy(self, file: str | Path, step: int | None = None) -> int:
        """Writes the trained agent as a program that runs with JAX alone; see `runs.policy.export_policy`.

        Args:
            file: to write.
            step: the number of a checkpoint; None for the newest.

        Returns:
            The size of the file in bytes.
        """
        return export_policy(file, self.agent, self.params(step), self.spec)

    def rows(self) -> list[Row]:
        """The lines of metrics.jsonl, unchanged; empty if the file does not exist yet."""
        file = self.logdir / METRICS_FILE
        return read_metrics(file) if file.is_file() else []

    @property
    def metrics(self) -> dict[str, dict[str, np.ndarray]]:
        """Metrics as tables of columns: "collect", "learn", "evaluation" and "held_out".

        A table has the counters env_steps, episodes and updates, `minutes` of the run, and its metrics by their names
        without the table's: `metrics["evaluation"]["return"]` [n]. Evaluations, and losses on held-out data, come with
        what every diagnostic measured, "DIAGNOSTIC/NAME": "prediction/reward_mae", or a measurement of your own.
        Vectors of one length are [n, length], of several an array of lists; a number that a row lacks is NaN.
        """
        rows = self.rows()
        return {kind: _columns(curve(rows, kind)) for kind in KINDS}

    def episodes(self) -> Iterator[Batch]:
        """The collected episodes in their order, one at a time: NumPy arrays with a leading axis of n + 1 records.

        Unreadable files are skipped with a warning.
        """
        for file in sorted((self.logdir / "episodes").glob("[0-9]*.npz")):
            try:
                yield read_episode(file)
            except CorruptEpisode as error:
                warnings.warn(f"{error}; it is skipped", stacklevel=2)

    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.logdir / "checkpoints")

    def _part(self, part: Part | None, name: str) -> Part:
        if part is None:
            raise ValueError(f"{name}: expected an agent that has one, got {self.config.agent}, which has none")
        return part


def curve(rows: list[Row], kind: str) -> list[Row]:
    """The rows of one kind, with short names.

    Args:
        rows: of metrics.jsonl.
        kind: collect, learn, evaluation or held_out.

    Returns:
        A dictionary per row: counters, `minutes` since the run's start, metrics without their kind, and, of
        evaluations and held-out losses, what diagnostics measured.
    """
    found = []
    for row in rows:
        if values := {name.split("/", 1)[1]: x for name, x in row.items() if name.split("/")[0] == kind}:
            if kind in _MEASURED:
                values |= {name: x for name, x in row.items() if name.split("/")[0] not in RESERVED}
            counters = {name: row[name] for name in COUNTERS}
            found.append(counters | {"minutes": row["time/total"] / 60} | values)
    return found


def _progress(metadata: Metadata) -> Progress:
    """The counters of a checkpoint."""
    try:
        return Progress(**metadata["progress"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"checkpoint: expected a run's counters, got others ({error})") from error


def _columns(rows: list[Row]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name, np.nan) for row in rows]) for name in names}


def _column(values: Sequence[ArrayLike]) -> np.ndarray:
    if len({np.shape(value) for value in values}) == 1:
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column
