"""Writes the goldens: parameters, inputs and noise arrays, and what an independent NumPy implementation makes of them.

`python tests/goldens/make.py` rewrites the files. Needed when the layout of parameters changes, never because an
expected value did.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HIDDEN, DETER, STOCH, EMBED, ACTION, OBSERVATION = 8, 6, 3, 8, 2, 5
MIN_STD, VECTOR_STD = 0.1, 1.0
STEPS, BATCH = 5, 2
LOSS = {
    "reward_scale": 2.0,
    "free_nats": 2.0,
    "global_prior_scale": 0.1,
    "overshooting_distance": 3,
    "overshooting_beta": (1.0, 0.5, 0.25),
    "overshooting_average": "eq7",
    "overshooting_reward_scale": 2.0,
    "observation_overshooting_distance": 2,
}
HORIZON, ITERATIONS, CANDIDATES, ELITES, CEM_MIN_STD = 4, 3, 40, 6, 0.05


# The NumPy implementation, float64.


def dense(layer: dict, x: np.ndarray) -> np.ndarray:
    return x @ layer["kernel"] + layer["bias"]


def hidden(layer: dict, x: np.ndarray) -> np.ndarray:
    return np.maximum(dense(layer, x), 0)


def gaussian(params: dict, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = hidden(params["_MLP_0"]["Dense_0"], x)
    return dense(params["mean"], x), np.log1p(np.exp(dense(params["std"], x))) + MIN_STD


def head(params: dict, x: np.ndarray) -> np.ndarray:
    return dense(params["Dense_1"], hidden(params["Dense_0"], x))


def join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, -1)


def imagine_step(params, deter, stoch, action, noise):
    """(deter, stoch, prior mean, prior std) of the RSSM."""
    x = hidden(params["recurrent"]["Dense_0"], join(stoch, action))
    gates = 1 / (1 + np.exp(-dense(params["recurrent"]["gru"]["gates"], join(x, deter))))
    reset, update = gates[..., :DETER], gates[..., DETER:]
    candidate = np.tanh(dense(params["recurrent"]["gru"]["candidate"], join(x, reset * deter)))
    deter = update * deter + (1 - update) * candidate
    mean, std = gaussian(params["prior"], deter)
    return deter, mean + std * noise, mean, std


def observe_step(params, deter, stoch, action, embed, is_first, noise):
    """(deter, stoch, posterior mean, posterior std, prior mean, prior std)."""
    keep = 1.0 - is_first[..., None]
    deter, _, *prior = imagine_step(params, keep * deter, keep * stoch, keep * action, 0.0)
    mean, std = gaussian(params["posterior"], join(deter, embed))
    return deter, mean + std * noise, mean, std, *prior


def log_normal(x, mean, std):
    return np.sum(-0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi), -1)


def kl(p_mean, p_std, q_mean, q_std):
    return np.sum(np.log(q_std / p_std) + (p_std**2 + (p_mean - q_mean) ** 2) / (2 * q_std**2) - 0.5, -1)


def planet_loss(params, observation, action, reward, is_first, filter_noise, overshoot_noise) -> float:
    """[T, B] data; noise [T, B, S] and [D, T, B, S], entry [d, t] for the d + 1-step prediction of step t."""
    free = LOSS["free_nats"]
    seen = np.sign(observation) * np.log1p(np.abs(observation))
    embed = head(params["encoder"], seen)
    deter, stoch = np.zeros((BATCH, DETER)), np.zeros((BATCH, STOCH))
    before, posteriors, total = [], [], 0.0
    to_normal = []
    for t in range(STEPS):
        keep = 1.0 - is_first[t][:, None]
        before.append((keep * deter, keep * stoch))
        deter, stoch, *stats = observe_step(
            params["dynamics"], deter, stoch, action[t], embed[t], is_first[t], filter_noise[t]
        )
        posteriors.append(stats[:2])
        total -= np.mean(likelihood(params, deter, stoch, seen[t], reward[t])) / STEPS
        to_normal.append(np.maximum(kl(*stats[:2], 0.0, 1.0) - free, 0))
    total += LOSS["global_prior_scale"] * np.mean(to_normal)

    kls, rewards, both = ([[] for _ in range(3)] for _ in range(3))
    for start in range(STEPS):
        deter, stoch = before[start]
        for d in range(min(3, STEPS - start)):
            t = start + d
            keep = 1.0 - is_first[t][:, None]
            deter, stoch, *prior = imagine_step(
                params["dynamics"], deter, stoch, keep * action[t], overshoot_noise[d, t]
            )
            for b in range(BATCH):
                if d and (start == 0 or is_first[start : t + 1, b].any()):
                    continue  # started from no posterior, or another episode has begun
                kls[d].append(max(0.0, kl(*(x[b] for x in posteriors[t]), *(x[b] for x in prior)) - free))
                rewards[d].append(log_normal(reward[t, b, None], head(params["reward"], join(stoch, deter))[b], 1.0))
                both[d].append(likelihood(params, deter[b], stoch[b], seen[t, b], reward[t, b]))
    total += np.mean([beta * np.mean(x) for beta, x in zip(LOSS["overshooting_beta"], kls, strict=True)])
    total -= LOSS["overshooting_reward_scale"] * np.mean([np.mean(x) for x in rewards[1:]])
    return total - np.mean([np.mean(x) for x in both[:2]])


def likelihood(params, deter, stoch, observation, reward):
    features = join(stoch, deter)
    log_observation = log_normal(observation, head(params["decoder"], features), VECTOR_STD)
    return log_observation + LOSS["reward_scale"] * log_normal(reward[..., None], head(params["reward"], features), 1.0)


def objective(weight, frequency, phase, actions):
    """[H, N, A] -> [N]: not quadratic, with several maxima and no symmetry."""
    return np.sum(weight[:, None] * np.cos(frequency[:, None] * actions + phase[:, None]), (0, 2))


def cem(weight, frequency, phase, noise) -> tuple[np.ndarray, np.ndarray]:
    """(plan [H, A], margin between the last elite and the next candidate); noise [I, H, N, A]."""
    mean, std, margins = np.zeros((HORIZON, ACTION)), np.ones((HORIZON, ACTION)), []
    for i in range(ITERATIONS):
        actions = np.clip(mean[:, None] + std[:, None] * noise[i], -1, 1)
        returns = objective(weight, frequency, phase, actions)
        order = np.argsort(-returns)
        margins.append(returns[order[ELITES - 1]] - returns[order[ELITES]])
        elites = actions[:, order[:ELITES]]
        mean, std = elites.mean(1), np.sqrt(elites.var(1) + CEM_MIN_STD**2)
    return mean, np.array(margins)


# Files: trees of parameters are stored flat, under "params/<path>".


def dense_params(rng, inputs: int, outputs: int) -> dict:
    kernel = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
    return {"kernel": kernel.astype(np.float32), "bias": (0.3 * rng.normal(size=outputs)).astype(np.float32)}


def gaussian_params(rng, inputs: int) -> dict:
    return {
        "_MLP_0": {"Dense_0": dense_params(rng, inputs, HIDDEN)},
        "mean": dense_params(rng, HIDDEN, STOCH),
        "std": dense_params(rng, HIDDEN, STOCH),
    }


def head_params(rng, inputs: int, outputs: int) -> dict:
    return {"Dense_0": dense_params(rng, inputs, HIDDEN), "Dense_1": dense_params(rng, HIDDEN, outputs)}


def dynamics_params(rng) -> dict:
    gru = {"gates": dense_params(rng, HIDDEN + DETER, 2 * DETER), "candidate": dense_params(rng, HIDDEN + DETER, DETER)}
    return {
        "recurrent": {"Dense_0": dense_params(rng, STOCH + ACTION, HIDDEN), "gru": gru},
        "prior": gaussian_params(rng, DETER),
        "posterior": gaussian_params(rng, DETER + EMBED),
    }


def flatten(tree: dict, prefix: str = "params") -> dict[str, np.ndarray]:
    flat = {}
    for name, value in tree.items():
        path = f"{prefix}/{name}"
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def load(name: str) -> dict:
    """The arrays of a golden, its parameters as a tree again."""
    tree: dict = {}
    with np.load(HERE / f"{name}.npz") as stored:
        for path, value in stored.items():
            *folders, leaf = path.split("/")
            inner = tree
            for folder in folders:
                inner = inner.setdefault(folder, {})
            inner[leaf] = value
    return tree


def recompute(name: str, stored: dict) -> dict[str, np.ndarray]:
    """What the NumPy implementation makes of a golden's inputs."""
    inputs = {key: value for key, value in stored.items() if not key.startswith("expected_")}
    if name == "rssm":
        results = observe_step(**inputs)
        names = ("deter", "stoch", "posterior_mean", "posterior_std", "prior_mean", "prior_std")
        return {f"expected_{key}": value for key, value in zip(names, results, strict=True)}
    if name == "planet_loss":
        return {"expected_loss": np.array(planet_loss(**inputs))}
    plan, margin = cem(**inputs)
    return {"expected_plan": plan, "expected_margin": margin}


def make_inputs() -> dict[str, dict]:
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    rssm = {
        "params": dynamics_params(rng), "deter": draw(3, DETER), "stoch": draw(3, STOCH), "action": draw(3, ACTION),
        "embed": draw(3, EMBED), "is_first": np.array([False, True, False]), "noise": draw(3, STOCH),
    }  # fmt: skip
    is_first = np.zeros((STEPS, BATCH), bool)
    is_first[0, 0] = is_first[2, 1] = True
    loss = {
        "params": {
            "dynamics": dynamics_params(rng),
            "encoder": head_params(rng, OBSERVATION, EMBED),
            "decoder": head_params(rng, STOCH + DETER, OBSERVATION),
            "reward": head_params(rng, STOCH + DETER, 1),
        },
        "observation": 2 * draw(STEPS, BATCH, OBSERVATION), "action": draw(STEPS, BATCH, ACTION),
        "reward": draw(STEPS, BATCH), "is_first": is_first, "filter_noise": draw(STEPS, BATCH, STOCH),
        "overshoot_noise": draw(3, STEPS, BATCH, STOCH),
    }  # fmt: skip
    planner = {
        "weight": draw(HORIZON, ACTION), "frequency": 2 + draw(HORIZON, ACTION), "phase": draw(HORIZON, ACTION),
        "noise": draw(ITERATIONS, HORIZON, CANDIDATES, ACTION),
    }  # fmt: skip
    return {"rssm": rssm, "planet_loss": loss, "cem": planner}


if __name__ == "__main__":
    for name, inputs in make_inputs().items():
        flat = flatten(inputs["params"]) if "params" in inputs else {}
        flat |= {key: value for key, value in inputs.items() if key != "params"}
        np.savez_compressed(HERE / f"{name}.npz", **flat, **recompute(name, inputs))
        print(f"{name}.npz: {(HERE / f'{name}.npz').stat().st_size} bytes")
