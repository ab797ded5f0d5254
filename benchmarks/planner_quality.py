"""Plan quality against cost: every planner at several budgets of evaluated action sequences.

python benchmarks/planner_quality.py                     with models that are known exactly
python benchmarks/planner_quality.py --logdir runs/NAME  with a trained model, in its environment

A budget is the number of action sequences that the model rolls per decision (a gradient counts as two).
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import harness
import jax
import known_models
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
from latentplan.driver.compilation import compiled, configure
from latentplan.planners import PLANNERS
from latentplan.planners.gradient import GradientConfig
from latentplan.runs import Run, load_run

BUDGETS = (120, 600, 3000)  # each a fifth of the next
KEPT = ("horizon", "init_std", "warm_start")  # of a run's own planner, when another one takes its place
SETTLED = {"choose": "mean"}  # MPPI is judged by what it settles on, not by an elite that it draws
COMPARED = [name for name in PLANNERS if name != "policy"]  # a policy evaluates nothing
PROBLEMS: dict[str, Callable[[], known_models.Problem]] = {
    "quadratic": known_models.quadratic,
    "lqr": lambda: known_models.lqr(known_models.make_lqr()),
    "cart_pole": known_models.cart_pole,
}


def arguments(parser: ArgumentParser) -> None:
    """The benchmark's own arguments."""
    parser.add_argument("--planner", choices=COMPARED, nargs="+", default=COMPARED, help="default: all")
    parser.add_argument("--budgets", type=harness.positive, nargs="+", default=BUDGETS, help="default: %(default)s")
    parser.add_argument("--problems", choices=PROBLEMS, nargs="+", default=list(PROBLEMS), help="default: all")
    parser.add_argument("--cases", type=harness.positive, default=5, help="random cases or episodes of each")
    parser.add_argument("--logdir", type=Path, help="a trained run, in place of the known models")


def run(options: Namespace) -> harness.Result:
    """Scores every planner at every budget."""
    configure()
    if options.logdir:
        trained = load_run(options.logdir)
        scores = {trained.config.env: (score_run(trained, options), "return")}
    else:
        scores = {}
        for name in options.problems:
            problem = PROBLEMS[name]()
            scores[name] = (score_problem(problem, options), problem.unit)
    rows: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    for task, (found, _) in scores.items():
        for planner in options.planner:
            row: dict[str, Any] = {"task": task, "planner": planner}
            for budget in options.budgets:
                values = found[planner, budget]
                row |= {f"{budget}": float(np.mean(values)), f"+- {budget}": standard_error(values)}
            rows.append(row)
        ratios |= at_a_fifth(task, found)
    units = [f"{task}: {unit}" for task, (_, unit) in scores.items()]
    notes = [f"mean of {options.cases} cases and its standard error; columns: evaluated sequences per decision", *units]
    return harness.Result(rows, ratios, notes, timed=False)


def score_problem(problem: known_models.Problem, options: Namespace) -> dict[tuple[str, int], np.ndarray]:
    """(planner, budget) -> scores of a problem's cases, the same ones for all."""
    keys = jax.random.split(jax.random.key(0), options.cases)
    found = {}
    for name in options.planner:
        for budget in options.budgets:
            config = with_budget(
                configured(name, {"horizon": known_models.HORIZON, "warm_start": True, **SETTLED}), budget
            )
            planner = PLANNERS[name].make(config, problem.action_size, problem.evaluate)
            found[name, budget] = np.asarray(compiled(lambda keys, p=planner: problem.score(p, keys))(keys))
            print(f"{name} {budget}: {found[name, budget].mean():.4g}", file=sys.stderr, flush=True)
    return found


def score_run(run: Run, options: Namespace) -> dict[tuple[str, int], np.ndarray]:
    """(planner, budget) -> returns of evaluation episodes of a trained agent, whose planner is replaced."""
    from latentplan.driver.episodes import agent_policy, compile_act, episode_return, evaluate
    from latentplan.driver.rng import env_seeds, stream_key
    from latentplan.envs.workers import Workers

    config, params, found = run.config, run.params(), {}
    own: Any = config.agent_config.planner
    seeds = env_seeds(config.run.seed, "env_evaluate", 10**6, options.cases)
    with Workers(config.env, config.environment, 1) as workers:
        for name in options.planner:
            for budget in options.budgets:
                kept = SETTLED | {x: getattr(own, x) for x in KEPT if hasattr(own, x)}
                same = type(own) is PLANNERS[name].config
                other = run.with_planner(with_budget(own if same else configured(name, kept), budget))
                policy = agent_policy(other, lambda: params, compile_act(other, "eval"))
                trajectories = evaluate(workers, policy, seeds, stream_key(config.run.seed, "evaluate"))
                found[name, budget] = np.array([episode_return(one.batch) for one in trajectories])
                print(f"{name} {budget}: {found[name, budget].mean():.4g}", file=sys.stderr, flush=True)
    return found


def configured(name: str, values: dict[str, Any]) -> Any:
    """A planner's config with these values, as far as it has such fields."""
    config = PLANNERS[name].config
    return config(**{field.name: values[field.name] for field in fields(config) if field.name in values})


def with_budget(config: Any, budget: int) -> Any:
    """A planner's config, resized to evaluate at most, and nearly, `budget` sequences.

    Rounds are few where there are few sequences: 4, or 10 from 2000 on; ascents have 19, to get anywhere. A tenth of
    a round's sequences are elites, and at most an eighth are the policy's.
    """
    count = 19 if isinstance(config, GradientConfig) else 4 if budget < 2000 else 10
    rounds = {"num_iterations": count} if hasattr(config, "num_iterations") else {}

    def sized(candidates: int) -> Any:
        elites = {"num_elites": max(2, candidates // 10)} if hasattr(config, "num_elites") else {}
        guides = min(getattr(config, "policy_candidates", 0), candidates // 8)  # the policy's share stays one
        shares = {"policy_candidates": guides} if hasattr(config, "policy_candidates") else {}
        return replace(config, num_candidates=candidates, **rounds, **elites, **shares)

    low, high = 2, budget
    while low < high:  # evaluations grow with candidates
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sized(middle).evaluations <= budget else (low, middle - 1)
    return sized(low)


def standard_error(values: np.ndarray) -> float:
    """Of the mean; zero for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def at_a_fifth(task: str, found: dict[tuple[str, int], np.ndarray]) -> dict[str, float]:
    """Score of iCEM less that of CEM at five times the budget, paired over cases; at or above zero it is as good."""
    return {
        f"icem at {budget // 5} less cem at {budget}, {task}": float(
            np.mean(found["icem", budget // 5] - found["cem", budget])
        )
        for name, budget in found
        if name == "cem" and ("icem", budget // 5) in found
    }


if __name__ == "__main__":
    sys.exit(harness.main("planner_quality", __doc__, arguments, run))
