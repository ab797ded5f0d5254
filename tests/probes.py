"""Probe environments: tiny tasks with known answers, each of which needs one more thing than the one before.

An agent that fails at probe n and passes those before it is broken in what n adds: 1 the reward head, 2 the
encoder and the filter, 3 the dynamics' actions and the planner's sign, 4 prediction over several steps, 5 memory.

All probes share SPEC and LENGTH, so one compiled `update` and one compiled `act` serve them all.
"""

from typing import NamedTuple

import numpy as np

from latentplan.types import Batch, EnvSpec

LENGTH = 6  # records per episode: 5 decisions
SPEC = EnvSpec.single((2,), action_size=1, action_repeat=1, max_decisions=LENGTH - 1)


class Probe(NamedTuple):
    """An environment without state: what is seen and earned as functions of an episode's cue and its actions.

    Attributes:
        observe: (cue [B], actions [B, T]) -> observations [B, T, 2]; observation t sees actions up to t.
        reward: (cue [B], actions [B, T]) -> [B, T]; action t led to record t, action 0 is zero.
        cue: how an episode's hidden cue is drawn: one of these values.
    """

    observe: object
    reward: object
    cue: tuple[float, ...] = (0.0,)


def _nothing(cue, actions):
    return np.zeros((*actions.shape, 2))


def _always_the_cue(cue, actions):
    return np.stack([np.broadcast_to(cue[:, None], actions.shape), np.ones(actions.shape)], -1)


def _the_cue_once(cue, actions):
    observation = np.zeros((*actions.shape, 2))
    observation[:, 0, 0] = cue
    return observation


def _before(actions):
    """The action of one decision earlier; zero where there was none."""
    return np.concatenate([np.zeros_like(actions[:, :1]), actions[:, :-1]], 1)


PROBES = {
    # 1. Every decision earns 1, whatever is seen or done.
    "constant_reward": Probe(_nothing, lambda cue, actions: np.ones(actions.shape)),
    # 2. Every decision earns the cue, which is always in sight: +1 or -1.
    "reward_seen": Probe(_always_the_cue, lambda cue, actions: cue[:, None] * np.ones(actions.shape), (-1.0, 1.0)),
    # 3. An action earns 1 - (a - 0.5)^2 at once: 0.5 is best, its mirror image -0.5 is not.
    "reward_for_action": Probe(_nothing, lambda cue, actions: 1.0 - (actions - 0.5) ** 2),
    # 4. An action earns minus itself one decision later, and nothing shows it in between: -1 is best.
    "reward_delayed": Probe(_nothing, lambda cue, actions: -_before(actions)),
    # 5. An action earns cue x action; the cue, +1 or -1, is in sight at the first observation only.
    "cue_remembered": Probe(_the_cue_once, lambda cue, actions: cue[:, None] * actions, (-1.0, 1.0)),
}


def play(probe: Probe, actions: np.ndarray, cue: np.ndarray) -> Batch:
    """What whole episodes give.

    Args:
        probe: one of PROBES.
        actions: [B, T], of which the first is ignored: it led to no record.
        cue: [B].

    Returns:
        Batch [B, T], one episode per row.
    """
    actions = np.where(np.arange(actions.shape[1]) == 0, 0.0, actions)
    time = np.broadcast_to(np.arange(actions.shape[1]), actions.shape)
    is_first, is_last = time == 0, time == LENGTH - 1
    return Batch(
        observation={"state": probe.observe(cue, actions).astype(np.float32)},
        action=actions[..., None].astype(np.float32),
        reward=np.where(is_first, 0.0, probe.reward(cue, actions)).astype(np.float32),
        is_first=is_first,
        is_last=is_last,
        is_terminal=np.zeros_like(is_first),
    )


def random_episodes(probe: Probe, count: int, seed: int) -> Batch:
    """Episodes of uniformly random actions: Batch [count, LENGTH]."""
    generator = np.random.default_rng(seed)
    actions = generator.uniform(-1.0, 1.0, (count, LENGTH))
    return play(probe, actions, generator.choice(probe.cue, count))
