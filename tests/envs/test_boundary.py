"""What environments give is held against what they declare, copied, and named if it differs."""

import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from envs.given import Given, made
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from hypothesis import given
from hypothesis import strategies as st

from latentplan.driver.rng import env_seeds
from latentplan.envs.boundary import SpaceMismatch, received
from latentplan.envs.env import EnvConfig, env_notes, env_spec, make_env
from latentplan.envs.workers import Workers

IMAGE = Box(0, 255, (8, 8, 3), np.uint8)
NOTHING = np.zeros(1, np.float32)


def picture(value, shape=(8, 8, 3)):
    return np.full(shape, value, np.uint8)


# --- observations as declared ---


@pytest.mark.parametrize(
    ("space", "right", "wrong", "got"),
    [
        (Box(-1, 1, (4,)), np.zeros(4, "f"), np.zeros(5, "f"), "float32 [5]"),
        (Box(-1, 1, (4,)), np.zeros(4, "f"), np.zeros((1, 4), "f"), "float32 [1, 4] = [[0.0, 0.0, 0.0, 0.0]]"),
        (Box(-1, 1, (4,)), np.zeros(4, "f"), {"a": 1}, "a dictionary with 'a'"),
        (Box(-1, 1, (4,)), np.zeros(4, "f"), None, "NoneType None"),
        (Box(-1, 1, (1,)), np.zeros(1, "f"), "x", "str 'x'"),
        (Box(-1, 1, (2,)), np.zeros(2, "f"), np.zeros(2, complex), "complex128 [2] = [0j, 0j]"),
        (Box(-1, 1, (2,)), np.zeros(2, "f"), [[1], [1, 2]], "list [[1], [1, 2]]"),
        (IMAGE, picture(3), picture(3).astype("f"), "float32 [8, 8, 3]"),
        (IMAGE, picture(3), picture(3, (8, 8, 4)), "uint8 [8, 8, 4]"),
        (IMAGE, picture(3), picture(3).astype(int), "int64 [8, 8, 3]"),
        (Box(0, 9, (2,), np.int32), np.ones(2, int), np.array([1, 2**40]), "int64 [2] = [1, 1099511627776]"),
        (Discrete(3, start=1), 3, 4, "int64 [] = 4"),
        (Discrete(3), 2, -1, "int64 [] = -1"),
        (Discrete(3), np.int64(2), np.array([2]), "int64 [1] = [2]"),
        (Discrete(3), 0, 0.5, "float64 [] = 0.5"),
        (MultiDiscrete([2, 3]), [1, 2], [2, 2], "int64 [2] = [2, 2]"),
        (MultiBinary(2), [1, 0], [2, 0], "int64 [2] = [2, 0]"),
        (Dict({"a": Discrete(2)}), {"a": 1}, {"a": 1, "b": 1}, "a dictionary with 'a', 'b'"),
        (Dict({"a": Discrete(2)}), {"a": 1}, {}, "a dictionary with nothing"),
        (Tuple((Discrete(2), Discrete(2))), (0, 1), (0,), "a tuple of 1"),
    ],
)
@pytest.mark.parametrize("when", [0, 2])
def test_an_observation_that_is_not_as_declared_is_refused_at_once(space, right, wrong, got, when):
    env = made(Given([*[right] * when, wrong], space=space), "mine:Arm-v0", obs="state")
    message = (
        f"env: mine:Arm-v0 returned the observation {got}; expected {space}, as its observation_space says. Return"
    )
    with pytest.raises(SpaceMismatch, match=re.escape(message)):
        env.reset(seed=0)
        for _ in range(when):
            env.step(NOTHING)
    assert env.unwrapped.count == when


def test_the_place_within_an_observation_is_named():
    space = Dict({"body": Tuple((Box(-1, 1, (2,)), Discrete(2)))})
    env = made(Given([{"body": (np.zeros(3), 0)}], space=space))
    with pytest.raises(
        SpaceMismatch, match=re.escape("the observation['body'][0] float64 [3] = [0.0, 0.0, 0.0]; expec")
    ):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("space", "seen", "state"),
    [
        (Box(-1, 1, (2,)), np.array([0.5, 0.1]), [0.5, 0.1]),  # float64 for float32
        (Box(-1, 1, (2,)), [1, 0], [1, 0]),
        (Box(-1, 1, (), np.float64), 0.25, [0.25]),
        (Box(-1, 1, (2,)), np.array([5.0, -7.0]), [5, -7]),  # bounds of a Box are often rough
        (Box(0, 9, (2,), np.int16), np.array([3, 9]), [3, 9]),
        (Box(0, 1, (2,), bool), [True, False], [1, 0]),
        (Discrete(4), 2, [0, 0, 1, 0]),
        (Discrete(3, start=5), np.int64(7), [0, 0, 1]),
        (MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
        (MultiDiscrete([2, 3], start=[1, 1]), np.array([1, 3]), [1, 0, 0, 0, 1]),
        (MultiBinary(3), np.array([1, 0, 1]), [1, 0, 1]),
        (Tuple((Discrete(2), Box(-1, 1, (1,)))), (1, np.array([0.5], "f")), [0, 1, 0.5]),
        (Dict({"b": Discrete(2), "a": Box(0, 1, (1,))}), {"a": np.ones(1), "b": 0}, [1, 1, 0]),
    ],
)
def test_numbers_and_choices_become_a_state_vector(space, seen, state):
    env = made(Given([seen], space=space))
    observation = env.reset(seed=0)[0]["state"]
    assert observation.dtype == np.float32
    np.testing.assert_array_equal(observation, np.float32(state))
    assert env_spec(env).observations["state"].shape == (len(state),)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1"])
def test_toy_text_takes_choices_as_integers(name):
    env, raw = make_env(name, EnvConfig(obs="state")), gymnasium.make(name)
    assert env_spec(env).discrete and env_spec(env).action_size == raw.action_space.n
    seen, states = [env.reset(seed=3)[0]["state"]], [raw.reset(seed=3)[0]]
    for choice in (1, 2, 1, 0, 2):
        seen.append(env.step(np.eye(raw.action_space.n, dtype="f")[choice])[0]["state"])
        states.append(raw.step(choice)[0])
    assert [np.flatnonzero(x).tolist() for x in seen] == [[int(x)] for x in states]


def spaces():
    """Spaces of observations, nested up to two levels."""
    shape = st.lists(st.integers(1, 3), max_size=2).map(tuple)
    dtypes = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, bool])
    boxes = st.builds(lambda shape, dtype: Box(0, 1, shape, dtype), shape, dtypes)
    counts = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    leaves = st.one_of(
        boxes,
        st.builds(Discrete, st.integers(1, 5), start=st.integers(-3, 3)),
        counts.map(MultiDiscrete),
        st.integers(1, 4).map(MultiBinary),
    )
    keys = st.sampled_from(["a", "b", "c"])
    nested = lambda inner: st.one_of(  # noqa: E731
        st.dictionaries(keys, inner, min_size=1).map(Dict), st.lists(inner, min_size=1, max_size=2).map(Tuple)
    )
    return st.recursive(leaves, nested, max_leaves=4)


def arrays_in(value):
    if isinstance(value, dict | tuple):
        return [x for inner in (value.values() if isinstance(value, dict) else value) for x in arrays_in(inner)]
    return [np.asarray(value)]


def refuse(where, declared, got):
    return SpaceMismatch(where)


@given(spaces(), st.integers(0, 2**31 - 1))
def test_every_sample_of_a_space_is_received_as_an_equal_copy(space, seed):
    space.seed(seed)
    sample = space.sample()
    copy = received(space, sample, refuse)
    assert space.contains(copy) or not isinstance(space, Dict | Tuple)
    for one, other in zip(arrays_in(sample), arrays_in(copy), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype and not np.shares_memory(one, other)
    vector = made(Given([sample], space=space)).reset(seed=0)[0]["state"]
    np.testing.assert_array_equal(vector, np.float32(gymnasium.spaces.flatten(space, sample)))


@given(spaces(), st.integers(0, 2**31 - 1))
def test_every_sample_with_an_axis_too_many_is_refused(space, seed):
    def spoilt(value):  # its last array
        if isinstance(value, dict):
            *_, last = value
            return value | {last: spoilt(value[last])}
        return (*value[:-1], spoilt(value[-1])) if isinstance(value, tuple) else np.asarray(value)[None]

    space.seed(seed)
    with pytest.raises(SpaceMismatch):
        received(space, spoilt(space.sample()), refuse)


# --- copies ---


@pytest.mark.parametrize("size", [8, 4])
@pytest.mark.parametrize("action_repeat", [1, 2])
def test_an_array_that_is_written_again_and_again_is_copied(size, action_repeat):
    buffer = picture(0)

    def reused(count):
        buffer[:] = 10 * count
        return buffer

    for options in ({"seen": [reused], "space": IMAGE}, {"frames": reused}):  # observed, and rendered
        env = made(Given(**options), obs="pixels", image_size=size, frame_stack=3, action_repeat=action_repeat)
        kept = [env.reset(seed=0)[0]["image"], *(env.step(NOTHING)[0]["image"] for _ in range(5))]
        shown = [[max(0, 10 * action_repeat * (i - back)) for back in (2, 1, 0)] for i in range(6)]
        assert [image[0, 0, ::3].tolist() for image in kept] == shown


def test_vectors_that_are_written_again_are_copied():
    buffers = {"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}

    def reused(count):
        for value in buffers.values():
            value[:] = count
        return buffers

    space = Dict({"a": Box(0, 9, (2,)), "b": Box(0, 9, (1,))})
    env = made(Given([reused], space=space))
    kept = [env.reset(seed=0)[0], env.step(NOTHING)[0], env.step(NOTHING)[0]]
    assert [x["state"].tolist() for x in kept] == [[0.0] * 3, [1.0] * 3, [2.0] * 3]


# --- rewards, ends, interface ---


@pytest.mark.parametrize("reward", [2, 2.0, np.float32(2), np.array(2), np.array([2.0]), np.array([[2]]), [2.0]])
def test_one_number_is_a_reward(reward):
    env = made(Given(rewards=reward), action_repeat=3)
    env.reset(seed=0)
    value = env.step(NOTHING)[1]
    assert type(value) is float and value == 6.0
    env = made(Given(rewards=True))
    env.reset(seed=0)
    assert env.step(NOTHING)[1] == 1.0


@pytest.mark.parametrize(
    ("reward", "got"),
    [
        (np.array([1.0, 2.0]), "float64 [2] = [1.0, 2.0]"),
        (np.array([]), "float64 [0] = []"),
        (None, "NoneType None"),
        ("1", "str '1'"),
        ({"goal": 1.0}, "a dictionary with 'goal'"),
    ],
)
def test_a_reward_that_is_not_one_number_is_refused_by_name(reward, got):
    env = made(Given(rewards=reward), "mine:Arm-v0")
    env.reset(seed=0)
    with pytest.raises(SpaceMismatch, match=re.escape(f"env: mine:Arm-v0 returned the reward {got}; expected one num")):
        env.step(NOTHING)


@pytest.mark.parametrize("reward", [np.nan, np.inf, np.float64(1e300)])
def test_a_reward_that_is_not_finite_is_refused_by_name(reward):
    env = made(Given(rewards=reward), "mine:Arm-v0")
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="mine:Arm-v0: 1 of 1 numbers of the reward are not finite"):
        env.step(NOTHING)


def test_an_environment_of_the_old_interface_is_told_so():
    class Old(Given):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    class OldStep(Given):
        def step(self, action):
            return super().step(action)[:4]

    with pytest.raises(
        SpaceMismatch, match="env: given's reset returned one value, ndarray; expected 2: an observation"
    ):
        made(Old()).reset(seed=0)
    env = made(OldStep())
    env.reset(seed=0)
    with pytest.raises(
        SpaceMismatch, match="env: given's step returned 4 values; expected 5: observation, reward, term"
    ):
        env.step(NOTHING)


def test_a_space_of_another_library_or_none_is_named():
    class Gym:
        """As gym.spaces.Box, of the library before gymnasium."""

    for kind, space, got in (("action_space", Gym(), "Gym"), ("observation_space", None, "NoneType")):
        env = Given()
        setattr(env, kind, space)
        with pytest.raises(
            ValueError, match=f"env: given.{kind}: expected one of gymnasium.spaces, got .*{got}. Declare"
        ):
            made(env)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            lambda count: picture(0).astype(float),
            "given renders float64 [8, 8, 3]; expected uint8 from 0 to 255, [height",
        ),
        (
            lambda count: np.zeros(3, np.uint8),
            "given renders uint8 [3] = [0, 0, 0]; expected uint8 from 0 to 255, [height",
        ),
        (lambda count: None, "given renders NoneType None; expected uint8 from 0 to 255"),
        (
            lambda count: picture(0, (8, 8 + count, 3)),
            "given renders uint8 [8, 9, 3]; expected uint8 [8, 8, 3], as the",
        ),
    ],
)
def test_frames_that_are_no_frames_or_change_their_size_are_refused(frames, message):
    with pytest.raises(SpaceMismatch, match=re.escape(message)):
        env = made(Given(frames=frames), obs="pixels")
        env.reset(seed=0)
        env.step(NOTHING)


@pytest.mark.parametrize(("shape", "channels"), [((8, 8), 1), ((8, 8, 1), 1), ((8, 8, 4), 4), ((3, 8, 8), 3)])
def test_frames_may_have_any_layout(shape, channels):
    env = made(Given(frames=lambda count: picture(9 + count, shape)), obs="pixels", image_size=8)
    assert env_spec(env).observations["image"].shape == (8, 8, channels)
    assert env.reset(seed=0)[0]["image"].max() == 9 and env.step(NOTHING)[0]["image"].min() == 10


def test_what_is_not_used_is_not_checked():
    env = made(Given([np.zeros(5)], frames=lambda count: picture(7)), obs="pixels", image_size=8)
    assert env.reset(seed=0)[0]["image"].max() == 7


def test_a_worker_names_it_in_a_line(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    with Workers("sample_envs:Wrong-v0", EnvConfig(obs="state"), num_envs=1) as workers:
        with pytest.raises(ValueError, match=r"seeds: expected numbers from 0 to 2\*\*31 - 1, got \[2147483648\]"):
            workers.reset([2**31])
        workers.reset([0])
        workers.step(np.zeros((1, 2)))
        with pytest.raises(SpaceMismatch) as caught:
            workers.step(np.zeros((1, 2)))
    assert str(caught.value).startswith("env: sample_envs:Wrong-v0 returned the observation float64 [2] = [2.0, 2.0]; ")
    assert "\n" not in str(caught.value)


# --- seeds ---


def test_seeds_fit_into_32_bits_with_a_sign():
    seeds = env_seeds(0, "env_collect", 0, 200)
    assert max(seeds) < 2**31 and len(set(seeds)) == 200
    assert seeds[7:9] == env_seeds(0, "env_collect", 7, 2)
    assert max(seeds) > 2**30  # and not much less


# --- images ---


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((3, 64, 64), 3),
        ((64, 64, 4), 4),
        ((1, 64, 64), 1),
        ((6, 32, 48), 6),
        ((2, 20, 10), 2),
        ((20, 10), 1),
        ((9, 9, 9), 9),
    ],
)
@pytest.mark.parametrize("size", [16, 64])
def test_images_of_any_layout_and_number_of_channels(shape, channels, size):
    first = len(shape) == 3 and shape[0] < min(shape[1:])
    levels = 20 * np.arange(1, channels + 1, dtype=np.uint8)
    if len(shape) == 2:
        image = picture(20, shape)
    else:
        image = np.broadcast_to(levels[:, None, None] if first else levels, shape).copy()
    env = made(Given([image], space=Box(0, 255, shape, np.uint8)), obs="pixels", image_size=size, frame_stack=2)
    seen = env.reset(seed=0)[0]["image"]
    assert seen.shape == env_spec(env).observations["image"].shape == (size, size, 2 * channels)
    assert seen.dtype == np.uint8 and np.all(seen == np.tile(levels, 2))
    assert any("[channels, height, width]" in note for note in env_notes(env)) == first


def test_a_picture_whose_channels_come_first_keeps_its_place():
    image = picture(0, (3, 8, 8))
    image[1, 2, 5] = 200  # green, third row, sixth column
    seen = made(Given([image], space=Box(0, 255, (3, 8, 8), np.uint8)), obs="pixels", image_size=8).reset(seed=0)[0]
    assert np.argwhere(seen["image"]).tolist() == [[2, 5, 1]]


def test_images_inside_nested_dictionaries_and_tuples_have_names():
    space = Dict(
        {
            "eyes": Dict({"left": IMAGE, "right": Box(0, 255, (1, 8, 8), np.uint8)}),
            "arm": Dict({"angle": Box(-1, 1, (1,)), "on": Discrete(2)}),
            "pair": Tuple((IMAGE, Box(-1, 1, (2,)))),
        }
    )
    space.seed(0)
    sample = space.sample()
    env = made(Given([sample], space=space), obs="pixels", image_size=8)
    spec, seen = env_spec(env), env.reset(seed=0)[0]
    assert {name: x.shape for name, x in spec.observations.items()} == {
        "eyes.left": (8, 8, 3), "eyes.right": (8, 8, 1), "arm": (3,), "pair.0": (8, 8, 3), "pair.1": (2,)
    }  # fmt: skip
    assert spec.images == ("eyes.left", "eyes.right", "pair.0")
    np.testing.assert_array_equal(seen["eyes.right"][..., 0], sample["eyes"]["right"][0])
    np.testing.assert_array_equal(seen["pair.1"], sample["pair"][1])
    twice = Dict({"a.b": IMAGE, "a": Dict({"b": IMAGE})})
    with pytest.raises(ValueError, match="has two entries of the same name"):
        made(Given(space=twice), obs="pixels")


def test_grey_is_refused_for_images_without_colours():
    with pytest.raises(
        ValueError, match="grayscale: expected False, since the image 'image' has 4 channels, not the 3"
    ):
        made(Given(space=Box(0, 255, (8, 8, 4), np.uint8)), obs="pixels", grayscale=True)
    env = made(Given(space=Box(0, 255, (8, 8, 4), np.uint8)), obs="pixels")  # left out
    assert env_spec(env).observations["image"].shape == (64, 64, 4)


@pytest.mark.parametrize(
    ("space", "obs", "note"),
    [
        (IMAGE, "pixels", None),
        (Box(-1, 1, (4,)), "pixels", None),
        (Box(-1, 1, (4, 4)), "state", None),
        (
            IMAGE,
            "state",
            "the observation uint8 [8, 8, 3] is flattened into a vector of 192 numbers; obs=pixels keeps im",
        ),
        (
            Box(0, 1, (8, 8, 5)),
            "pixels",
            "the image is rendered: the observation float32 [8, 8, 5] is not used, since images are uint8",
        ),
        (
            Box(0, 1, (8, 8, 3)),
            "pixels",
            "the observation float32 [8, 8, 3] from 0 to 1 is scaled to uint8 from 0 to 255",
        ),
        (Box(0, 1, (8, 8, 3)), "state", "the observation float32 [8, 8, 3] is flattened into a vector of 192 numbers"),
        (
            Dict({"see": IMAGE, "depth": Box(0, 9, (8, 8, 1))}),
            "pixels",
            "the observation['depth'] float32 [8, 8, 1] is flattened into a vector of 64 numbers",
        ),
        (
            Dict({"see": IMAGE, "a": Box(0, 1, (2,))}),
            "state",
            "the observation['see'] uint8 [8, 8, 3] is flattened into",
        ),
    ],
)
def test_what_is_replaced_or_flattened_is_noted(space, obs, note):
    notes = env_notes(made(Given([space.sample()], space=space, frames=lambda count: picture(0)), obs=obs))
    assert (len(notes) == 1 and notes[0].startswith(note)) if note else notes == ()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 8, 3), np.float32), ((3, 8, 8), np.float64), ((8, 8, 1), np.float16)]
)
def test_images_of_floats_from_0_to_1_become_bytes(shape, dtype):
    levels = np.linspace(0.0, 1.0, int(np.prod(shape))).reshape(shape).astype(dtype)
    env = made(Given([levels], space=Box(0.0, 1.0, shape, dtype)), obs="pixels", image_size=8)
    seen = env.reset(seed=0)[0]["image"]
    assert seen.dtype == np.uint8 and env_spec(env).observations["image"].shape == seen.shape == (8, 8, min(shape))
    expected = np.moveaxis(levels, 0, -1) if shape[0] == 3 else levels
    np.testing.assert_allclose(seen, 255 * expected.astype(float), atol=0.501)
    assert seen.min() == 0 and seen.max() == 255


@pytest.mark.parametrize(("level", "got"), [(255.0, "0 to 255"), (-1.0, "-1 to 0"), (np.nan, "nan to nan")])
def test_images_of_floats_beyond_what_they_declare_are_refused(level, got):
    image = np.zeros((8, 8, 3), np.float32)
    image[0, 0, 0] = level
    env = made(Given([image], space=Box(0.0, 1.0, (8, 8, 3))), obs="pixels", image_size=8)
    with pytest.raises(ValueError, match=f"numbers from 0 to 1, as its Box says, got {got}. Return the image divided"):
        env.reset(seed=0)
