"""Frames and control steps per second: for one worker and for one per core, per rendering quality, and from state.

python benchmarks/env.py                                      walker and cartpole, beside dm_control as it comes
python benchmarks/env.py --picture render_quality.png         and what `fast` changes in a frame
"""

import contextlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from elsewhere import elsewhere

from latentplan import envs
from latentplan.envs import dm_control, gl
from latentplan.envs.env import EnvConfig, make_env
from latentplan.envs.workers import Workers

FULL, FAST = EnvConfig(render_quality="full"), EnvConfig(render_quality="fast")
OBSERVATIONS = {
    "pixels, full": (FULL, 10),
    "pixels, fast": (FAST, 100),
    "state": (EnvConfig(obs="state"), 200),
}
"""Observation -> decisions per timed call, each a few tenths of a second."""
PLAIN = "dm_control's default"
PLAIN_FRAMES = 20
PICTURE_DECISIONS = 10  # a random walker falls later
DIFFERENCE_SCALE = 4


def arguments(parser: ArgumentParser) -> None:
    """The benchmark's own arguments."""
    tasks = ["walker_walk", "cartpole_swingup"]
    parser.add_argument("--tasks", nargs="+", default=tasks, help="of dm_control; default: %(default)s")
    parser.add_argument(
        "--workers", type=harness.positive, default=os.cpu_count(), help="how many are all; default: one per core"
    )
    parser.add_argument("--rounds", type=harness.positive, default=5, help="timed calls of each case")
    parser.add_argument("--picture", type=Path, help="draw full, fast and their difference into this file")


def run(options: Namespace) -> harness.Result:
    """Times every task's workers and dm_control alone in turns."""
    rows, ratios = [], {}
    for name in options.tasks:
        if name not in dm_control.names():
            raise envs.unknown_environment(name)
        repeat = dm_control.action_repeat(name)
        timings = measure(name, options)
        rates = {key: frames / timing.median for key, (frames, timing) in timings.items()}
        for (observation, workers), (frames, timing) in timings.items():
            rows.append(
                {
                    "task": name,
                    "observation": observation,
                    "workers": workers,
                    "decisions/s": rates[observation, workers],
                    "slowest": frames / timing.high,
                    "fastest": frames / timing.low,
                    "control steps/s": "" if observation == PLAIN else rates[observation, workers] * repeat,
                }
            )
        fast, every = "pixels, fast", options.workers
        ratios[f"{name}: fast with {every} workers / {PLAIN} in one process"] = rates[fast, every] / rates[PLAIN, 1]
        for workers in sorted({1, every}):
            ratios[f"{name}: fast / full, workers: {workers}"] = rates[fast, workers] / rates["pixels, full", workers]
    if options.picture:
        draw(options.picture, options.tasks)
    notes = [
        "One decision gives one frame; slowest and fastest are single calls.",
        f"{PLAIN}: suite.load and physics.render(64, 64) in a process of its own, rendering alone, "
        f"LP_NUM_THREADS unset; the workers have LP_NUM_THREADS={os.environ['LP_NUM_THREADS']}.",
    ]
    return harness.Result(rows, ratios, notes)


def measure(name: str, options: Namespace) -> dict[tuple[str, int], tuple[int, harness.Timing]]:
    """Decisions per call and their times, by observation and number of workers."""
    cases: dict[tuple[str, int], tuple[int, Callable[[], Any]]] = {}
    with contextlib.ExitStack() as stack:
        cases[PLAIN, 1] = PLAIN_FRAMES, stack.enter_context(plain(name))
        for observation, (config, decisions) in OBSERVATIONS.items():
            for count in sorted({1, options.workers}):
                workers = stack.enter_context(Workers(name, config, count))
                cases[observation, count] = decisions * count, play(workers, decisions)
        timings = harness.in_turns({str(key): case for key, (_, case) in cases.items()}, rounds=options.rounds)
    return {key: (frames, timings[str(key)]) for key, (frames, _) in cases.items()}


def play(workers: Workers, decisions: int) -> Callable[[], None]:
    """A case that plays random actions, episode after episode."""
    rng, seeds = np.random.default_rng(0), list(range(workers.num_envs))
    workers.reset(seeds)

    def case() -> None:
        for _ in range(decisions):
            actions = rng.uniform(-1.0, 1.0, (workers.num_envs, workers.spec.action_size))
            if workers.step(actions).is_last.all():
                workers.reset(seeds)

    return case


@contextlib.contextmanager
def plain(name: str) -> Iterator[Callable[[], harness.Seconds]]:
    """Frames from dm_control with its default settings, in a separate process."""
    gl.choose_backend()
    domain, task = dm_control.find(name, rendering=True)
    with elsewhere(LP_NUM_THREADS=None) as process:
        yield process.cases("env:plain_case", domain, task)["frames"]


def plain_case(domain: str, task: str) -> dict[str, Callable[[], None]]:
    """The case that `plain` times in its process."""
    from dm_control import suite

    physics = suite.load(domain, task).physics

    def case() -> None:
        for _ in range(PLAIN_FRAMES):
            physics.render(64, 64)

    return {"frames": case}


def draw(file: Path, tasks: list[str]) -> None:
    """The last frame of a short random episode, full, fast and their difference, each pixel enlarged."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(tasks), 3, figsize=(9.6, 3.5 * len(tasks) + 0.3), squeeze=False)
    for name, (left, middle, right) in zip(tasks, axes, strict=True):
        full, fast = episode_frames(name, FULL), episode_frames(name, FAST)
        difference = np.abs(full - fast)
        left.set(ylabel=name)
        share = np.mean(difference.max(-1) > 8)
        right.set(xlabel=f"{len(full)} frames: mean {difference.mean():.2f} of 255,\nabove 8 in {share:.1%} of pixels")
        images = full[-1], fast[-1], np.minimum(difference[-1] * DIFFERENCE_SCALE, 255)
        for axis, image in zip((left, middle, right), images, strict=True):
            axis.imshow(image.astype(np.uint8), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], ("full", "fast", f"|full - fast| x {DIFFERENCE_SCALE}"), strict=True):
        axis.set_title(title)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def episode_frames(name: str, config: EnvConfig) -> np.ndarray:
    """The frames of a short random episode, int [decisions, height, width, 3]."""
    env = make_env(name, config)
    assert env.action_space.shape is not None
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    actions = rng.uniform(-1.0, 1.0, (PICTURE_DECISIONS, *env.action_space.shape))
    with contextlib.closing(env):
        return np.stack([env.step(action)[0]["image"] for action in actions]).astype(int)


if __name__ == "__main__":
    sys.exit(harness.main("env", __doc__, arguments, run))
