"""The training schedule: the next phase and updates as pure functions of the counters."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from latentplan.config import Config, NonNegativeFloat, NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class Stage(Config):
    """When to run one of an agent's updates. Schedule steps are counted from 0.

    For example, a model that is retrained every 250 steps and a policy that is updated 20 times per step (MBPO) are
    `Stage(update="model", every=250, times=1000), Stage(update="policy", times=20)`; an encoder that is trained before
    the dynamics of its codes (World Models) is `Stage(update="encoder", until=10_000)` before `Stage(update="dynamics",
    first=10_000)`.
    """

    update: str
    """Name in the agent's `updates`."""
    times: PositiveInt = 1
    """Gradient steps each time the stage runs."""
    every: PositiveInt = 1
    """Schedule steps between two runs of the stage."""
    first: NonNegativeInt = 0
    """Schedule step at which the stage first runs."""
    until: PositiveInt | None = None
    """Schedule step from which on the stage no longer runs; None: it runs until the end."""

    def check(self) -> None:
        """Checks constraints between fields."""
        self.require(self.until is None or self.until > self.first, "until", f"more than first = {self.first}")

    def total(self, steps: int) -> int:
        """Gradient steps of this stage within the first `steps` schedule steps."""
        end = steps if self.until is None else min(steps, self.until)
        return self.times * math.ceil(max(0, end - self.first) / self.every)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Schedule of a training run. Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    seed: NonNegativeInt = 0
    """Seed of all random numbers of the run."""
    env_steps: NonNegativeInt = 1_000_000
    """Length of the run in simulator control steps (decisions times action repeat). May be increased when resuming. 0
    collects nothing, which needs `data_updates`."""
    data_updates: NonNegativeInt = 0
    """Gradient steps (schedule steps) on recorded data before anything is collected; the data takes the place of the
    seed episodes. May be increased when resuming."""
    data_eval_every: PositiveInt = 1000
    """Of these, the steps between two evaluations."""
    num_envs: PositiveInt = 1
    """Number of parallel environments, each in its own process; episodes are collected this many at a time."""
    seed_episodes: PositiveInt = 5
    """Number of episodes with random actions before learning starts (PlaNet's seed episodes; not a seed of numbers)."""
    seed_decisions: NonNegativeInt = 0
    """Minimum number of random decisions before learning starts. TD-MPC2 uses 1,000."""
    updates_per_episode: NonNegativeInt = 100
    """Gradient steps after each collected episode. An agent with several updates takes one of each per step, unless
    `stages` says otherwise."""
    updates_per_decision: NonNegativeFloat = 0.0
    """Gradient steps per collected decision, those of seed episodes included; above 0 it overrides updates_per_episode.
    TD-MPC2 uses 1."""
    stages: tuple[Stage, ...] = ()
    """When each of the agent's updates runs, in this order. Empty: every update once per schedule step."""
    interleave: bool = False
    """Learn between the decisions of an episode, on all of its records so far, instead of after it; each decision acts
    with the newest parameters. Needs updates_per_decision and one environment. TD-MPC2 and Dreamer learn so."""
    overlap: bool = False
    """Collect while learning: the next episodes act with the parameters from before these updates. PlaNet
    alternates."""
    eval_every: PositiveInt = 25_000
    """Evaluation interval in env_steps; the first evaluation follows the first learning phase."""
    eval_episodes: PositiveInt = 10
    """Episodes per evaluation, without exploration noise."""
    checkpoint_every: PositiveInt = 5_000
    """Checkpoint interval in env_steps. A killed run repeats what came after its last checkpoint."""
    env_restarts: NonNegativeInt = 2
    """Times that environments which raise an exception, hang or die are restarted and the episode is repeated, before
    the run is saved and stops."""
    keep_checkpoints: PositiveInt | Literal["all"] = 2
    """Number of newest checkpoints to keep, or all."""
    open_loop_context: PositiveInt = 5
    """Observed steps of an open-loop prediction, in decisions; the rest is imagined."""
    open_loop_length: PositiveInt = 50
    """Total steps of an open-loop prediction, in decisions."""

    def check(self) -> None:
        """Checks constraints between fields."""
        short = f"less than open_loop_length = {self.open_loop_length}"
        self.require(self.open_loop_context < self.open_loop_length, "open_loop_context", short, "lower it")
        if self.interleave:
            self.require(self.updates_per_decision, "updates_per_decision", "above 0 with interleave")
            advice = "interleave learns from one stream of records"
            self.require(self.num_envs == 1, "num_envs", "1 with interleave", advice)
            self.require(not self.overlap, "overlap", "False with interleave", "choose one of the two")
        learns = self.env_steps or self.data_updates
        self.require(learns, "env_steps", "at least 1 without recorded data", "or give data and data_updates")


class Progress(NamedTuple):
    """A run's counters, stored with every checkpoint.

    Attributes:
        env_steps: simulator control steps collected.
        episodes: episodes collected.
        updates: gradient steps taken, over all stages.
        schedule_steps: completed schedule steps.
        stage_updates: update's name -> gradient steps taken.
        records: records collected; an episode of n decisions has n + 1.
        evaluated_at: env_steps at the last evaluation; -1 before the first.
        evaluated_step: schedule steps at the last evaluation.
        summed_updates: update's name -> updates whose metrics are summed but not yet logged.
        metrics_bytes: size of metrics.jsonl.
        seconds: total wall-clock time of the run, over all its segments.
    """

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    schedule_steps: int = 0
    stage_updates: Mapping[str, int] = {}
    records: int = 0
    evaluated_at: int = -1
    evaluated_step: int = 0
    summed_updates: Mapping[str, int] = {}
    metrics_bytes: int = 0
    seconds: float = 0.0

    @property
    def decisions(self) -> int:
        """Decisions collected."""
        return self.records - self.episodes

    def counters(self) -> dict[str, int]:
        """The counters at the start of every row of metrics."""
        return {"env_steps": self.env_steps, "episodes": self.episodes, "updates": self.updates}


def within_episode(progress: Progress, decisions: int) -> Progress:
    """The counters of the schedule as if the episode under way had ended after this many decisions.

    Args:
        progress: the run's counters before the episode.
        decisions: made in the episode so far.
    """
    return progress._replace(episodes=progress.episodes + 1, records=progress.records + decisions + 1)


def in_seed_phase(config: RunConfig, progress: Progress, window: int) -> bool:
    """Whether to act randomly: for `seed_episodes` and `seed_decisions`, and until replay holds a window.

    Not with recorded data, which replay holds from the start.
    """
    if config.data_updates:
        return False
    enough = progress.episodes >= config.seed_episodes and progress.decisions >= config.seed_decisions
    return not enough or progress.records < window


def on_data_alone(config: RunConfig, progress: Progress) -> bool:
    """Whether the run still learns from recorded data, before it collects anything."""
    return progress.evaluated_step < config.data_updates


def stages_of(config: RunConfig, updates: Iterable[str]) -> tuple[Stage, ...]:
    """The run's stages: the config's, or every update once per schedule step.

    Args:
        config: the schedule.
        updates: names of the agent's updates.

    Returns:
        One stage per scheduled update, in the order of execution.

    Raises:
        ValueError: a stage names an unknown update, or two stages name the same one.
    """
    known, named = list(updates), [stage.update for stage in config.stages]
    if not set(named) <= set(known) or len(set(named)) < len(named):
        raise ValueError(f"stages: expected each of the agent's updates ({', '.join(known)}) at most once, got {named}")
    return config.stages or tuple(Stage(update=name) for name in known)


def next_update(stages: Sequence[Stage], progress: Progress) -> str | None:
    """The next update within the current schedule step; None if the step is complete.

    Args:
        stages: from `stages_of`.
        progress: the run's counters.
    """
    for stage in stages:
        if progress.stage_updates.get(stage.update, 0) < stage.total(progress.schedule_steps + 1):
            return stage.update
    return None


def after_update(progress: Progress, update: str) -> Progress:
    """The counters after one gradient step of an update."""
    return progress._replace(
        updates=progress.updates + 1,
        stage_updates=_one_more(progress.stage_updates, update),
        summed_updates=_one_more(progress.summed_updates, update),
    )


def after_step(progress: Progress) -> Progress:
    """The counters after a completed schedule step."""
    return progress._replace(schedule_steps=progress.schedule_steps + 1)


def steps_due(config: RunConfig, progress: Progress, window: int) -> int:
    """Schedule steps to run before collecting more, proportional to the collected decisions or episodes.

    For an agent with one update and no `RunConfig.stages`, a schedule step is a gradient step.

    Per episode, all seed episodes count as one collection (PlaNet algorithm 1, lines 3 to 8); per decision, the
    decisions of the seed episodes count, too (as in TD-MPC2, which makes up for them before continuing). Steps on
    recorded data come first, up to the next evaluation.
    """
    if in_seed_phase(config, progress, window):
        return 0
    if on_data_alone(config, progress):
        evaluations = progress.evaluated_step // config.data_eval_every
        return min(config.data_updates, (evaluations + 1) * config.data_eval_every)
    if config.updates_per_decision:
        return config.data_updates + int(config.updates_per_decision * progress.decisions)
    seeds = 0 if config.data_updates else config.seed_episodes - config.num_envs
    return config.data_updates + (progress.episodes - seeds) * config.updates_per_episode


def next_phase(config: RunConfig, progress: Progress, window: int) -> Literal["learn", "evaluate", "collect", "stop"]:
    """The next phase: learn while updates are due, else evaluate if due, else collect, until `env_steps` are collected.

    Evaluations are due after the first learning phase, whenever a multiple of `eval_every` has been passed, and at the
    end; on recorded data, whenever a multiple of `data_eval_every` has been passed.

    Args:
        config: the schedule.
        progress: the run's counters.
        window: records in one window of the replay.

    Returns:
        The phase.
    """
    if progress.schedule_steps < steps_due(config, progress, window):
        return "learn"
    if on_data_alone(config, progress):
        return "evaluate"
    done = progress.env_steps >= config.env_steps
    passed = progress.evaluated_at < 0 or _passed(config.eval_every, progress.evaluated_at, progress.env_steps)
    if (passed and not in_seed_phase(config, progress, window)) or (
        done and progress.evaluated_at != progress.env_steps
    ):
        return "evaluate"
    return "stop" if done else "collect"


def checkpoint_due(config: RunConfig, progress: Progress, saved: Progress) -> bool:
    """Whether to save before the next collection: if a multiple of `checkpoint_every` was passed since `saved`."""
    return _passed(config.checkpoint_every, saved.env_steps, progress.env_steps)


def _one_more(counts: Mapping[str, int], name: str) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + 1}


def _passed(every: int, before: int, now: int) -> bool:
    return now // every > before // every
