"""A real control task, learned by the whole machinery: cartpole_balance from state vectors."""

import pytest

from latentplan.agents.planet import LossConfig, PlaNetConfig, make_planet
from latentplan.driver.job import Job
from latentplan.driver.logging import read_metrics
from latentplan.driver.loop import train
from latentplan.driver.schedule import RunConfig
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import Workers
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.replay.ring import ReplayConfig

OPTIMIZED = True  # these train: see tests/conftest.py


@pytest.mark.slow  # tests/agents has quicker ones that learn
def test_planet_learns_to_balance_a_pole(tmp_path):
    env, env_config = "cartpole_balance", EnvConfig(obs="state")
    sizes = {"deter": 64, "stoch": 8, "hidden": 64, "layers": 1, "reward_hidden": 64, "vector_hidden": 64}
    agent_config = PlaNetConfig(
        model=WorldModelConfig(**sizes),
        loss=LossConfig(free_nats=1.0),
        planner=CEMConfig(horizon=10, num_iterations=4, num_candidates=150, num_elites=15),
    )
    config = RunConfig(env_steps=18_000, updates_per_episode=100, eval_every=100_000, eval_episodes=3)
    workers = Workers(env, env_config, 1)
    agent = make_planet(agent_config, workers.spec)
    replay = ReplayConfig(capacity=3000, batch_size=16, batch_length=16)
    train(Job(agent, workers.spec, env, env_config, config, replay, tmp_path, workers))
    rows = read_metrics(tmp_path / "metrics.jsonl")
    random = [row["collect/return"] for row in rows if row.get("collect/random")]
    learned = [row["evaluation/return"] for row in rows if "evaluation/return" in row][-1]
    assert learned > sum(random) / len(random) + 150
