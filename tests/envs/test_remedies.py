"""What a message advises is done, and works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from envs.given import Given, made
from gymnasium.spaces import Box, Dict, Discrete, Sequence, Text

from latentplan.envs import gl
from latentplan.envs.env import EnvConfig, env_notes, env_spec, make_env

SOURCE = Path(gl.__file__).parents[1]
MODULE = """
import gymnasium

gymnasium.register("Point-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=40)
"""
SCRIPT = """
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import Workers

if __name__ == "__main__":
    with Workers("my_envs:Point-v0", EnvConfig(obs="state"), num_envs=1) as workers:
        print(workers.reset([0])["state"].shape)
"""


@pytest.fixture
def folders(tmp_path):
    """One with a module of a user's, and one with a script that needs it."""
    mine, scripts = tmp_path / "mine", tmp_path / "scripts"
    mine.mkdir()
    scripts.mkdir()
    (mine / "my_envs.py").write_text(MODULE)
    (scripts / "script.py").write_text(SCRIPT)
    return mine, scripts


@pytest.mark.parametrize("remedy", ["none", "PYTHONPATH", "the current directory"])
def test_a_module_is_found_on_pythonpath_or_in_the_current_directory(folders, remedy):
    """By worker processes, too, from a script that lies elsewhere."""
    mine, scripts = folders
    path = [str(SOURCE.parent), *([str(mine)] if remedy == "PYTHONPATH" else [])]
    done = subprocess.run(
        [sys.executable, str(scripts / "script.py")],
        cwd=mine if remedy == "the current directory" else scripts,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if remedy == "none":
        message = (
            "env: 'my_envs:Point-v0' needs the module 'my_envs', which cannot be imported (No module named 'my_envs')"
        )
        assert message in done.stderr and "with the module on PYTHONPATH or in the current directory." in done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, "(1, 3)\n"), done.stderr


def test_what_cannot_be_rendered_is_taken_as_a_state_or_gets_the_mode():
    class Blind(Given):
        metadata = {"render_modes": []}

    class Seeing(Blind):
        metadata = {"render_modes": ["rgb_array"]}

        def __init__(self, render_mode=None):  # which it may forget to keep
            super().__init__(frames=lambda count: np.full((8, 8, 3), 9, np.uint8))

    gymnasium.register("Blind-v0", Blind)
    gymnasium.register("Seeing-v0", Seeing)
    with pytest.raises(
        ValueError, match=r"Use obs=state, or add the mode to metadata\['render_modes'\] and return frames"
    ):
        make_env("Blind-v0", EnvConfig())
    assert env_spec(make_env("Blind-v0", EnvConfig(obs="state"))).observations["state"].shape == (4,)
    assert make_env("Seeing-v0", EnvConfig()).reset(seed=0)[0]["image"].max() == 9


def test_frames_that_are_refused_can_be_converted_or_left_out():
    wrong = Given(frames=lambda count: np.ones((8, 8, 3)))
    with pytest.raises(ValueError, match="Use obs=state, or convert what its render returns"):
        made(wrong, obs="pixels")
    assert made(wrong, obs="state").reset(seed=0)[0]["state"].shape == (4,)
    right = Given(frames=lambda count: np.uint8(255 * np.ones((8, 8, 3))))
    assert made(right, obs="pixels").reset(seed=0)[0]["image"].min() == 255


@pytest.mark.parametrize("space", [Sequence(Discrete(3)), Text(4), Dict({"a": Text(4), "b": Discrete(2)})])
def test_an_observation_without_a_size_is_rendered_or_wrapped(space):
    env = Given([space.sample()], space=space, frames=lambda count: np.full((8, 8, 3), 9, np.uint8))
    advice = (
        "Use obs=pixels, if it renders or observes images, or wrap it where it is registered with gymnasium.wrappers."
    )
    with pytest.raises(ValueError, match=re.escape(advice)):
        made(env)
    assert made(env, obs="pixels").reset(seed=0)[0]["image"].max() == 9
    wrapped = gymnasium.wrappers.TransformObservation(env, lambda seen: np.float32([len(seen)]), Box(0, 9, (1,)))
    assert made(wrapped).reset(seed=0)[0]["state"].shape == (1,)


def test_an_image_that_is_flattened_can_be_kept():
    image = Given(space=Box(0, 255, (8, 8, 3), np.uint8))
    assert env_notes(made(image))[0].endswith("numbers; obs=pixels keeps images")
    assert env_spec(made(image, obs="pixels")).observations["image"].shape == (64, 64, 3)


def test_an_observation_that_differs_is_returned_as_declared_or_declared_as_returned():
    with pytest.raises(ValueError, match="Return that, or declare what is returned."):
        made(Given([np.zeros(5)])).reset(seed=0)
    for env in (Given([np.zeros(4)]), Given([np.zeros(5)], space=Box(-1, 1, (5,)))):
        assert made(env).reset(seed=0)[0]["state"].shape == env.observation_space.shape


def test_settings_of_frames_take_pixels():
    for name, value in {"grayscale": True, "frame_stack": 2}.items():
        with pytest.raises(ValueError, match="since obs = state has no frames.*; use obs = pixels"):
            EnvConfig(obs="state", **{name: value})
        assert getattr(EnvConfig(obs="pixels", **{name: value}), name) == value


def test_a_camera_that_exists_can_be_chosen():
    with pytest.raises(
        ValueError, match="cartpole_balance has cameras 0 to 1, and -1 for the free one; got 2. Choose one"
    ):
        make_env("cartpole_balance", EnvConfig(camera=2, image_size=16))
    for camera in (1, -1):
        env = make_env("cartpole_balance", EnvConfig(camera=camera, image_size=16))
        assert env.reset(seed=0)[0]["image"].std() > 1
        env.close()


def test_an_argument_that_is_refused_can_be_corrected():
    with pytest.raises(
        ValueError, match=r"expected arguments of Pendulum-v1 \(g\), got gravity; correct or leave it out"
    ):
        make_env("Pendulum-v1", EnvConfig(obs="state", env_kwargs=("gravity=5",)))
    assert make_env("Pendulum-v1", EnvConfig(obs="state", env_kwargs=("g=5",))).unwrapped.g == 5


def test_extras_that_messages_name_exist():
    import tomllib

    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    named = set()
    for file in SOURCE.rglob("*.py"):
        text = file.read_text()
        named |= {x for found in re.findall(r"latentplan\[([a-z0-9,]+)\]", text) for x in found.split(",")}
        named |= set(re.findall(r"--extra ([a-z0-9]+)", text))
    assert {"atari", "minatar", "video", "cli"} <= named <= project["optional-dependencies"].keys()
