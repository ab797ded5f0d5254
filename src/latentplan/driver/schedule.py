"""What a run does next, as a pure function of where it stands."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from latentplan.config import Config, NonNegativeFloat, NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class Stage(Config):
    """When one of an agent's updates is taken. Steps of the schedule are counted from 0.

    For example, a model that is trained anew every 250 steps and a policy that is trained 20 times at each (MBPO) are
    `Stage(update="model", every=250, times=1000), Stage(update="policy", times=20)`; an encoder that is trained before
    what predicts its codes (World Models) is `Stage(update="encoder", until=10_000)` before
    `Stage(update="dynamics", first=10_000)`.
    """

    update: str
    """Name in the agent's `updates`."""
    times: PositiveInt = 1
    """Gradient steps at each of its turns."""
    every: PositiveInt = 1
    """Steps of the schedule from one turn to the next."""
    first: NonNegativeInt = 0
    """Step of the schedule at which it has its first turn."""
    until: PositiveInt | None = None
    """Step of the schedule from which on it has no more turns; None: it has turns until the end."""

    def check(self) -> None:
        """Rules between fields."""
        self.require(self.until is None or self.until > self.first, "until", f"more than first = {self.first}")

    def total(self, steps: int) -> int:
        """Gradient steps that this stage takes within the first `steps` steps of the schedule."""
        end = steps if self.until is None else min(steps, self.until)
        return self.times * math.ceil(max(0, end - self.first) / self.every)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """One training run's schedule. Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    seed: NonNegativeInt = 0
    """Seed of everything random in the run."""
    env_steps: PositiveInt = 1_000_000
    """Length of the run in simulator control steps, action repeat counted. May be raised when resuming."""
    num_envs: PositiveInt = 1
    """Environments that run in parallel, each in a process; episodes are collected this many at a time."""
    seed_episodes: PositiveInt = 5
    """Episodes of random actions before learning starts."""
    seed_decisions: NonNegativeInt = 0
    """Decisions of random actions before learning starts, at least. TD-MPC2 has 1,000."""
    updates_per_episode: NonNegativeInt = 100
    """Gradient steps per collected episode; of an agent with several updates, steps of their schedule."""
    updates_per_decision: NonNegativeFloat = 0.0
    """Gradient steps per collected decision, those of the seed episodes included; above 0 it takes the place of
    updates_per_episode. TD-MPC2 has 1."""
    stages: tuple[Stage, ...] = ()
    """When each of the agent's updates is taken, in this order. Empty: every update once per step."""
    overlap: bool = False
    """Collect while learning: the next episodes act on the parameters from before these updates. PlaNet alternates."""
    eval_every: PositiveInt = 25_000
    """Evaluate after the first learning phase, then whenever another so many env_steps are collected."""
    eval_episodes: PositiveInt = 10
    """Episodes per evaluation, without exploration noise."""
    checkpoint_every: PositiveInt = 5_000
    """Save whenever another so many env_steps are collected. After a kill, what came after that is done again."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints kept, newest first."""
    open_loop_context: PositiveInt = 5
    """Steps an open-loop prediction sees before it imagines the rest, in decisions."""
    open_loop_length: PositiveInt = 50
    """Steps of an open-loop prediction in all, in decisions."""

    def check(self) -> None:
        """Rules between fields."""
        short = f"less than open_loop_length = {self.open_loop_length}"
        self.require(self.open_loop_context < self.open_loop_length, "open_loop_context", short, "lower it")


class Progress(NamedTuple):
    """Where a run stands. Stored with every checkpoint.

    Attributes:
        env_steps: simulator control steps collected.
        episodes: episodes collected.
        updates: gradient steps taken, of all stages together.
        schedule_steps: steps of the stages' schedule that are complete.
        stage_updates: gradient steps taken, by the update's name.
        records: records collected; an episode of n decisions has n + 1.
        evaluated_at: env_steps at the last evaluation; -1 before the first.
        summed_updates: updates whose metrics are summed but not yet written, by the update's name.
        metrics_bytes: size of metrics.jsonl.
        seconds: wall-clock time of the run, all its parts together.
    """

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    schedule_steps: int = 0
    stage_updates: Mapping[str, int] = {}
    records: int = 0
    evaluated_at: int = -1
    summed_updates: Mapping[str, int] = {}
    metrics_bytes: int = 0
    seconds: float = 0.0

    @property
    def decisions(self) -> int:
        """Decisions collected."""
        return self.records - self.episodes

    def counters(self) -> dict[str, int]:
        """The counters that every row of metrics begins with."""
        return {"env_steps": self.env_steps, "episodes": self.episodes, "updates": self.updates}


def in_seed_phase(config: RunConfig, progress: Progress, window: int) -> bool:
    """Whether to collect at random: for `seed_episodes` and `seed_decisions`, and until replay holds a window."""
    enough = progress.episodes >= config.seed_episodes and progress.decisions >= config.seed_decisions
    return not enough or progress.records < window


def stages_of(config: RunConfig, updates: Iterable[str]) -> tuple[Stage, ...]:
    """The run's stages: those of the config, or every update once per step of the schedule.

    Args:
        config: the schedule.
        updates: names of the agent's updates.

    Returns:
        One stage per update that is taken, in the order of their turns.

    Raises:
        ValueError: a stage names none of the updates, or one that another stage names.
    """
    known, named = list(updates), [stage.update for stage in config.stages]
    if not set(named) <= set(known) or len(set(named)) < len(named):
        raise ValueError(f"stages: expected each of the agent's updates ({', '.join(known)}) at most once, got {named}")
    return config.stages or tuple(Stage(update=name) for name in known)


def next_update(stages: Sequence[Stage], progress: Progress) -> str | None:
    """The update that is next within the present step of the schedule; None where the step is complete.

    Args:
        stages: from `stages_of`.
        progress: where the run stands.
    """
    for stage in stages:
        if progress.stage_updates.get(stage.update, 0) < stage.total(progress.schedule_steps + 1):
            return stage.update
    return None


def after_update(progress: Progress, update: str) -> Progress:
    """The counters after one gradient step by an update."""
    return progress._replace(
        updates=progress.updates + 1,
        stage_updates=_one_more(progress.stage_updates, update),
        summed_updates=_one_more(progress.summed_updates, update),
    )


def after_step(progress: Progress) -> Progress:
    """The counters once a step of the schedule is complete."""
    return progress._replace(schedule_steps=progress.schedule_steps + 1)


def steps_due(config: RunConfig, progress: Progress, window: int) -> int:
    """Steps of the schedule to be taken before more is collected: so many for each decision or each episode.

    Without `RunConfig.stages` and with one update, a step is a gradient step.

    Per episode, the first phase after the seed episodes counts as one collection (PlaNet algorithm 1, lines 3 to 8);
    per decision, the seed episodes' count too (TD-MPC2 learns from them as often before it goes on).
    """
    if in_seed_phase(config, progress, window):
        return 0
    if config.updates_per_decision:
        return int(config.updates_per_decision * progress.decisions)
    return (progress.episodes - config.seed_episodes + config.num_envs) * config.updates_per_episode


def next_phase(config: RunConfig, progress: Progress, window: int) -> Literal["learn", "evaluate", "collect", "stop"]:
    """Learn while updates are due, else evaluate if that is due, else collect, until `env_steps` are done.

    Evaluations are due after the first learning phase, at every multiple of `eval_every` that was passed since the last
    one, and at the end.

    Args:
        config: the schedule.
        progress: where the run stands.
        window: records in one window of the replay.

    Returns:
        The phase.
    """
    if progress.schedule_steps < steps_due(config, progress, window):
        return "learn"
    done = progress.env_steps >= config.env_steps
    passed = progress.evaluated_at < 0 or _passed(config.eval_every, progress.evaluated_at, progress.env_steps)
    if (passed and not in_seed_phase(config, progress, window)) or (
        done and progress.evaluated_at != progress.env_steps
    ):
        return "evaluate"
    return "stop" if done else "collect"


def checkpoint_due(config: RunConfig, progress: Progress, saved: Progress) -> bool:
    """Whether to save before the next collection: where a multiple of `checkpoint_every` was passed since `saved`."""
    return _passed(config.checkpoint_every, saved.env_steps, progress.env_steps)


def _one_more(counts: Mapping[str, int], name: str) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + 1}


def _passed(every: int, before: int, now: int) -> bool:
    return now // every > before // every
