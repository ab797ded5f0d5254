"""Words that several commands print."""

import io

from rich.console import Console

from latentplan.cli.display import Display
from latentplan.cli.words import explain, over_episodes
from latentplan.config import ConfigError
from latentplan.driver.schedule import RunConfig


def test_a_mistake_is_in_its_own_words_and_another_error_under_its_type():
    assert explain(ConfigError(RunConfig, "seed", "expected 0, got 1")) == "RunConfig.seed: expected 0, got 1"
    assert explain(RuntimeError("no memory")) == "RuntimeError: no memory"


def test_a_single_episode_has_no_spread():
    assert over_episodes(18.64, 0.0, 1) == "18.6 over 1 episode"
    assert over_episodes(18.64, 1.26, 3) == "18.6 +- 1.3 over 3 episodes"


def test_an_evaluation_is_shown_with_its_spread_if_it_has_one():
    out = io.StringIO()
    display = Display(100, Console(file=out, width=200))
    values = {"env_steps": 10, "episodes": 2, "updates": 5, "time/evaluate": 1.0, "evaluation/return": 18.64}
    display("evaluated", values | {"evaluation/return_std": 0.0, "evaluation/episodes": 1})
    display("evaluated", values | {"evaluation/return_std": 1.26, "evaluation/episodes": 3})
    one, three = out.getvalue().splitlines()
    assert "evaluated  return 18.6 over 1 episode  in 1 s" in one
    assert "evaluated  return 18.6 +- 1.3 over 3 episodes  in 1 s" in three
