"""What a run does next, as a pure function of where it stands."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from latentplan.config import Config, NonNegativeFloat, NonNegativeInt, PositiveInt


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
    """Gradient steps per collected episode."""
    updates_per_decision: NonNegativeFloat = 0.0
    """Gradient steps per collected decision, those of the seed episodes included; above 0 it takes the place of
    updates_per_episode. TD-MPC2 has 1."""
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
        updates: gradient steps taken.
        records: records collected; an episode of n decisions has n + 1.
        evaluated_at: env_steps at the last evaluation; -1 before the first.
        summed_updates: updates whose metrics are summed but not yet written.
        metrics_bytes: size of metrics.jsonl.
        seconds: wall-clock time of the run, all its parts together.
    """

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    records: int = 0
    evaluated_at: int = -1
    summed_updates: int = 0
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


def updates_due(config: RunConfig, progress: Progress, window: int) -> int:
    """Gradient steps that have to be taken before more is collected: so many for each decision or each episode.

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
    if progress.updates < updates_due(config, progress, window):
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


def _passed(every: int, before: int, now: int) -> bool:
    return now // every > before // every
