"""What the agents' tests share: windows of random steps, weights that matter, TD-MPC's weighing by rho."""

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.types import Batch, EnvSpec, Sample

SPEC = EnvSpec.single((3,), action_size=2, action_repeat=1, max_decisions=100)
RHO = 0.5


def noisy(params, seed=0):
    """Weights large enough that everything matters, the zero-initialised ones too."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [jnp.asarray(x + 0.5 * rng.normal(size=x.shape), jnp.float32) for x in leaves])


def time_first(batch):
    """[B, T, ...] -> [T, B, ...], as agents are given it."""
    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1) if isinstance(x, np.ndarray) else jnp.swapaxes(x, 0, 1), batch)


def make_sample(**options):
    return Sample.uniform(make_batch(**options))


def make_batch(seed=0, size=3, length=4):
    """[T, B]."""
    rng = np.random.default_rng(seed)
    is_first = np.zeros((size, length), bool)
    is_first[0, 0] = is_first[1, 2] = True  # row 1: an episode ends after one transition
    batch = Batch(
        observation={"state": rng.normal(size=(size, length, 3)).astype("f")},
        action=np.where(is_first[..., None], 0, rng.uniform(-1, 1, (size, length, 2))).astype("f"),
        reward=(20 * rng.normal(size=(size, length))).astype("f"),
        is_first=is_first,
        is_last=np.zeros((size, length), bool),
        is_terminal=np.arange(size * length).reshape(size, length) % 5 == 3,
    )
    return time_first(batch)


def along_rollout(errors, valid):
    return sum(RHO**t * errors[t][valid[t]].mean() for t in range(len(errors))) / len(errors)
