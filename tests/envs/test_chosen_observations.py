"""Observations chosen by name or pattern: image and state together, and entries of dictionaries."""

import gymnasium
import numpy as np
import pytest
from envs.given import Given, made
from gymnasium.spaces import Box, Dict, Discrete, Sequence, Space, Text, Tuple

from latentplan.envs.boundary import SpaceMismatch
from latentplan.envs.env import EnvConfig, env_notes, env_spec, make_env


class Robot(gymnasium.Env):
    """Observes two cameras, joints and a mode; it renders, too."""

    metadata = {"render_modes": ["rgb_array"]}
    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Dict(
        camera_left=Box(0, 255, (32, 32, 3), np.uint8),
        camera_right=Box(0, 255, (32, 32, 3), np.uint8),
        joints=Box(-1.0, 1.0, (4,), np.float64),
        mode=Discrete(3),
    )

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._seen(), {}

    def step(self, action):
        self.count += 1
        return self._seen(), 1.0, False, False, {}

    def render(self):
        return np.full((48, 48, 3), 100 + self.count, np.uint8)

    def _seen(self):
        images = {f"camera_{side}": np.full((32, 32, 3), i, np.uint8) for i, side in enumerate(("left", "right"))}
        return images | {"joints": np.full(4, self.count / 10), "mode": self.count % 3}


class Arm(Robot):
    """The joints alone, which are not a dictionary."""

    observation_space = Box(-1.0, 1.0, (4,), np.float64)

    def _seen(self):
        return np.full(4, self.count / 10)


gymnasium.register("ChosenRobot-v0", Robot, max_episode_steps=5)
gymnasium.register("ChosenArm-v0", Arm, max_episode_steps=5)


@pytest.mark.parametrize(
    ("name", "obs", "expected"),
    [
        ("ChosenRobot-v0", "pixels", {"camera_left", "camera_right", "joints", "mode"}),
        ("ChosenRobot-v0", "camera_left,joints", {"camera_left", "joints"}),
        ("ChosenRobot-v0", "camera*", {"camera_left", "camera_right"}),
        ("ChosenRobot-v0", "joints,mode", {"joints", "mode"}),
        ("ChosenRobot-v0", "image,joints", {"image", "joints"}),
        ("ChosenArm-v0", "image,state", {"image", "state"}),
        ("ChosenArm-v0", "state,image", {"image", "state"}),
        ("ChosenArm-v0", "image", {"image"}),
        ("Pendulum-v1", "image,state", {"image", "state"}),
        ("cartpole_balance", "image,state", {"image", "state"}),
        ("cartpole_balance", "position", {"position"}),
    ],
)
def test_what_is_named_is_observed(name, obs, expected):
    env = make_env(name, EnvConfig(obs=obs, image_size=16))
    try:
        spec, (first, _) = env_spec(env), env.reset(seed=0)
        after = env.step(np.zeros(spec.action_size, np.float32))[0]
        assert set(spec.observations) == set(first) == set(after) == expected
        for entry, space in spec.observations.items():
            image = entry.startswith(("image", "camera"))
            assert space.shape == ((16, 16, 3) if image else space.shape) and len(space.shape) == (3 if image else 1)
            assert first[entry].shape == space.shape and first[entry].dtype == np.dtype(space.dtype)
    finally:
        env.close()


def test_rendered_frames_and_vectors_are_of_the_same_moment():
    env = make_env("ChosenArm-v0", EnvConfig(obs="image,state", image_size=16, frame_stack=2))
    first, _ = env.reset(seed=0)
    after, *_ = env.step(np.zeros(2, np.float32))
    assert first["image"].shape == (16, 16, 6) and (first["image"] == 100).all() and (first["state"] == 0).all()
    assert (after["image"][..., :3] == 100).all() and (after["image"][..., 3:] == 101).all()
    np.testing.assert_allclose(after["state"], 0.1)


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(ValueError, match="obs: expected names among camera_left, .*joints, mode, image, got 'wrist'"):
        make_env("ChosenRobot-v0", EnvConfig(obs="joints,wrist"))


class Mission(Space):
    """Sentences, as MiniGrid's own space of missions: it says nothing about a size."""

    def __init__(self):
        super().__init__(dtype=str)

    def sample(self, mask=None, probability=None):
        return "go to the red ball"

    def contains(self, x):
        return isinstance(x, str)


def grid(**others):
    """As MiniGrid's environments: a grid's cells as an image, a direction and a sentence."""
    space = {"image": Box(0, 255, (7, 7, 3), np.uint8), "direction": Discrete(4), "mission": Mission()}
    seen = {"image": np.full((7, 7, 3), 9, np.uint8), "direction": 2, "mission": "go to the red ball"}
    values = {name: value for name, (_, value) in others.items()}
    return Given([seen | values], space=Dict(space | {name: x for name, (x, _) in others.items()}))


@pytest.mark.parametrize(
    ("obs", "names"),
    [("image,direction", {"image", "direction"}), ("direction", {"direction"}), ("pixels", {"direction", "image"})],
)
def test_what_is_not_used_may_be_anything(obs, names):
    others = {"words": (Sequence(Discrete(9)), (1, 2)), "text": (Text(4), None), "wrong": (Box(0, 1, (2,)), "no array")}
    env = made(grid(**(others if obs != "pixels" else {})), obs=obs, image_size=7)
    for seen in (env.reset(seed=0)[0], env.step(np.zeros(1, np.float32))[0]):
        assert set(seen) == set(env_spec(env).observations) == names
        np.testing.assert_array_equal(seen["direction"], [0, 0, 1, 0])
        if "image" in names:
            np.testing.assert_array_equal(seen["image"], np.full((7, 7, 3), 9))
    left_out = ["the observation['mission'] Mission is not used, since it is no vector of a fixed size"]
    assert list(env_notes(env)) == (left_out if obs == "pixels" else [])


def test_what_is_used_is_checked_beside_what_is_not():
    env = made(grid(direction=(Discrete(4), 4)), obs="image,direction")
    with pytest.raises(SpaceMismatch, match=r"the observation\['direction'\] int64 \[\] = 4"):
        env.reset(seed=0)
    with pytest.raises(
        ValueError, match="'mission', which is not a vector of numbers of a fixed size. Leave it out of"
    ):
        made(grid(), obs="image,mission")


def test_parts_of_a_nested_observation_that_are_no_vectors_are_left_out():
    inner = Dict({"about": Text(3), "joints": Box(-1, 1, (2,)), "nothing": Dict({})})
    env = made(grid(body=(inner, {"about": "x", "joints": np.ones(2, "f"), "nothing": {}})), obs="pixels")
    spec = env_spec(env)
    assert {name: x.shape for name, x in spec.observations.items()} == {
        "body.joints": (2,), "direction": (4,), "image": (64, 64, 3)
    }  # fmt: skip
    assert [note.split(" is ")[0] for note in env_notes(env)] == [
        "the observation['body']['about'] Text", "the observation['mission'] Mission"
    ]  # fmt: skip
    np.testing.assert_array_equal(env.reset(seed=0)[0]["body.joints"], [1, 1])


@pytest.mark.parametrize("obs", ["a.b", "image,c"])
def test_two_entries_of_one_name_are_refused(obs):
    image = Box(0, 255, (8, 8, 3), np.uint8)
    space = Dict({"a.b": Discrete(2), "a": Dict({"b": Discrete(3)}), "c": Discrete(2), "image": image})
    with pytest.raises(ValueError, match="has two entries of the same name; expected different ones"):
        made(Given(space=space), obs=obs)


@pytest.mark.parametrize("space", [Dict({}), Box(0, 1, (0,)), Tuple((Dict({}),))])
def test_an_observation_of_nothing_is_refused(space):
    with pytest.raises(ValueError, match="for 'state', which is not a vector of numbers of a fixed size") as caught:
        made(Given(space=space))
    assert "\n" not in str(caught.value)
