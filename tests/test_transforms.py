"""Value transforms and image quantisation against hand numbers, a NumPy loop, and for any number."""

import hypothesis.extra.numpy as hypothesis_numpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from latentplan import transforms

BITS = range(1, 9)
EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def test_symlog_and_symexp_have_hand_computed_values():
    x = jnp.array([0.0, 1.0, -1.0, np.e - 1, -99.0])
    expected = [0.0, np.log(2.0), -np.log(2.0), 1.0, -np.log(100.0)]
    np.testing.assert_allclose(transforms.symlog(x), expected, rtol=1e-6)
    np.testing.assert_allclose(transforms.symexp(jnp.asarray(expected)), x, rtol=1e-5)


def test_symexp_undoes_symlog_over_many_magnitudes():
    x = np.concatenate([[0.0], 10.0 ** np.arange(-6, 7)])
    x = np.concatenate([-x, x]).astype(np.float32)
    np.testing.assert_allclose(transforms.symexp(transforms.symlog(jnp.asarray(x))), x, rtol=1e-5)


def test_symlog_grows_everywhere_and_has_its_derivative():
    x = jnp.linspace(-20.0, 20.0, 400)
    assert np.all(np.diff(transforms.symlog(x)) > 0)
    np.testing.assert_allclose(jax.vmap(jax.grad(transforms.symlog))(x), 1 / (1 + np.abs(x)), rtol=1e-5)


def reference_quantise(image: np.ndarray, bits: int) -> np.ndarray:
    result = np.zeros(image.shape)
    for index, value in np.ndenumerate(image):
        result[index] = (int(value) >> (8 - bits)) / 2**bits - 0.5
    return result


@pytest.mark.parametrize("bits", BITS)
def test_quantise_is_the_loop_over_every_value(bits):
    got = transforms.quantise(jnp.asarray(EVERY_VALUE), bits)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, reference_quantise(EVERY_VALUE, bits))
    assert len(np.unique(got)) == 2**bits
    assert got.min() == -0.5


@pytest.mark.parametrize("bits", BITS)
def test_dequantised_values_fill_their_bin_and_do_not_leave_it(bits):
    images = jnp.broadcast_to(EVERY_VALUE, (20, 16, 16, 1))
    inside = transforms.dequantise(images, bits, jax.random.key(bits)) - transforms.quantise(images, bits)
    assert np.all(inside >= 0)
    assert np.all(inside <= 2.0**-bits)
    np.testing.assert_allclose(np.mean(inside), 0.5 * 2.0**-bits, rtol=0.05)
    np.testing.assert_allclose(np.std(inside), 2.0**-bits / np.sqrt(12), rtol=0.05)


def test_every_pixel_is_dequantised_with_noise_of_its_own():
    inside = transforms.dequantise(jnp.zeros((64, 64, 64, 3), jnp.uint8), 5, jax.random.key(0))
    levels = (np.asarray(inside, np.float64).ravel() + 0.5) * 2**13 - 0.5
    counts = np.bincount(np.round(levels).astype(int), minlength=256)
    np.testing.assert_array_equal(levels, np.round(levels))
    assert len(counts) == 256 and scipy.stats.chisquare(counts).pvalue > 1e-3
    for distance in (1, 2, 3, 4, 3 * 64):
        assert abs(np.corrcoef(levels[:-distance], levels[distance:])[0, 1]) < 0.005


def test_images_of_any_size_are_dequantised():
    assert transforms.dequantise(jnp.zeros((1, 3, 3, 1), jnp.uint8), 5, jax.random.key(0)).shape == (1, 3, 3, 1)


def test_to_display_undoes_quantise_up_to_the_bin_and_clips():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    shown = np.asarray(transforms.to_display(transforms.quantise(jnp.asarray(image), 8)))
    np.testing.assert_allclose(shown, image / 256, atol=1e-7)
    np.testing.assert_array_equal(transforms.to_display(jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])), [0, 0, 0.5, 1, 1])


def test_random_shifts_are_crops_of_the_padded_image_each_with_its_own_offset():
    image = np.random.default_rng(0).integers(0, 256, (2, 30, 8, 8, 3), np.uint8)
    shifted = np.asarray(transforms.random_shift(jnp.asarray(image), 2, jax.random.key(0)))
    assert shifted.shape == image.shape and shifted.dtype == np.uint8
    offsets = set()
    for one, other in zip(image.reshape(-1, 8, 8, 3), shifted.reshape(-1, 8, 8, 3), strict=True):
        padded = np.pad(one, ((2, 2), (2, 2), (0, 0)), "edge")
        found = [(i, j) for i in range(5) for j in range(5) if np.array_equal(padded[i : i + 8, j : j + 8], other)]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 15 and {i for i, _ in offsets} == {j for _, j in offsets} == set(range(5))
    np.testing.assert_array_equal(transforms.random_shift(jnp.asarray(image), 0, jax.random.key(0)), image)


# For any number

few = settings(max_examples=25)
BIG = float(np.finfo(np.float32).max)


def numbers(low: float = -BIG, high: float = BIG):
    """Arrays of one length, so that little is compiled; XLA takes the smallest numbers for zero."""
    elements = st.floats(np.float32(low).item(), np.float32(high).item(), width=32, allow_subnormal=False)
    return hypothesis_numpy.arrays(np.float32, 8, elements=elements)


@few
@given(numbers())
def test_symexp_undoes_symlog_for_every_number(x):
    squashed = np.asarray(transforms.symlog(jnp.asarray(x)))
    assert np.isfinite(squashed).all()
    np.testing.assert_array_equal(np.sign(squashed), np.sign(x))
    inside = np.abs(x) < BIG / 2  # the largest of all may come back as infinity
    np.testing.assert_allclose(np.asarray(transforms.symexp(jnp.asarray(squashed)))[inside], x[inside], rtol=5e-5)


@few
@given(numbers(-88.0, 88.0))
def test_symlog_undoes_symexp(x):
    np.testing.assert_allclose(transforms.symlog(transforms.symexp(jnp.asarray(x))), x, rtol=1e-5, atol=1e-6)


@few
@given(numbers())
def test_symlog_keeps_the_order(x):
    x = np.sort(x)
    assert (np.diff(transforms.symlog(jnp.asarray(x))) >= 0).all()
    assert (np.diff(transforms.symexp(jnp.clip(x, -88.0, 88.0))) >= 0).all()


@pytest.mark.parametrize("transform", [transforms.symlog, transforms.symexp])
def test_infinity_stays_and_what_is_no_number_is_not_hidden(transform):
    np.testing.assert_array_equal(transform(jnp.array([np.inf, -np.inf, np.nan])), [np.inf, -np.inf, np.nan])


EVEN, SQUASHED = np.linspace(-10.0, 10.0, 101, dtype=np.float32), np.asarray(transforms.symexp_bins(20.0, 255))


def two_hot(value, bins):
    return np.asarray(transforms.two_hot(jnp.asarray(value), jnp.asarray(bins)))


@pytest.mark.parametrize("bins", [EVEN, SQUASHED, np.array([-1.0, 0.5], np.float32)], ids=["even", "squashed", "two"])
@few
@given(shares=numbers(0.0, 1.0), index=st.integers(0, 253))
def test_two_hot_gives_the_number_back_between_any_two_bins(bins, shares, index):
    index %= len(bins) - 1
    low, high = bins[index : index + 2].astype(np.float64)
    value = np.float32(low + shares * (high - low))
    weights = two_hot(value, bins).astype(np.float64)
    assert (weights >= 0).all() and ((weights > 0).sum(-1) <= 2).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights @ bins.astype(np.float64), value, atol=1e-6 * max(abs(low), abs(high), 1.0))


@pytest.mark.parametrize("bins", [EVEN, SQUASHED], ids=["even", "squashed"])
@few
@given(x=numbers())
def test_two_hot_puts_a_bin_on_itself_and_what_is_beyond_the_last_one_on_the_last_one(bins, x):
    inside = np.clip(x, bins[0], bins[-1])
    np.testing.assert_array_equal(two_hot(x, bins), two_hot(inside, bins))
    np.testing.assert_array_equal(two_hot(bins, bins), np.eye(len(bins)))


def test_two_hot_of_infinity_is_the_last_bin_and_of_no_number_is_none():
    weights = two_hot(np.float32([np.inf, -np.inf, np.nan]), EVEN)
    np.testing.assert_array_equal(weights[:2], np.eye(101)[[-1, 0]])
    assert np.isnan(weights[2]).all()
