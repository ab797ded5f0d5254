"""LaProp, clipping by tensor and weight decay against NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentplan.agents.optimizers import adaptive_clip, clipped_adam, laprop, rate_schedule, scale_parts

RNG = np.random.default_rng(0)


def test_laprop_is_numpys():
    """Normalise by the bias-corrected mean square first, then the bias-corrected momentum (Ziyin et al. 2020)."""
    rate, beta1, beta2, eps = 0.1, 0.9, 0.99, 1e-8
    optimizer = laprop(rate, beta1=beta1, beta2=beta2, eps=eps)
    params = {"w": jnp.zeros(3)}
    state, mean, square = optimizer.init(params), np.zeros(3), np.zeros(3)
    for t in range(1, 6):
        gradient = RNG.normal(size=3)
        square = beta2 * square + (1 - beta2) * gradient**2
        mean = beta1 * mean + (1 - beta1) * gradient / (np.sqrt(square / (1 - beta2**t)) + eps)
        updates, state = optimizer.update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
        np.testing.assert_allclose(updates["w"], -rate * mean / (1 - beta1**t), rtol=1e-4)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [((0, 0), [0, 0.5, 1, 1, 1, 1, 1, 1, 1]), ((4, 8), [0, 0.5, 1, 1, 1, 0.775, 0.55, 0.325, 0.1])],
)
def test_the_rate_rises_from_zero_and_falls_to_a_share_of_itself(decay, expected):
    rate = rate_schedule(1.0, warmup=2, decay=decay, least=0.1)
    optimizer = laprop(rate, beta1=0.0, beta2=0.0, eps=1e-20)
    state, sizes = optimizer.init({"w": jnp.zeros(1)}), []
    for _ in expected:
        updates, state = optimizer.update({"w": jnp.ones(1)}, state)
        sizes.append(-float(updates["w"][0]))
    np.testing.assert_allclose(sizes, expected, atol=1e-6)
    np.testing.assert_allclose(rate(100), expected[-1], atol=1e-6)


def test_every_tensors_gradient_is_bounded_by_its_own_norm():
    params = {"large": jnp.array([[3.0, 4.0]]), "zero": jnp.zeros(2), "small": jnp.array([0.1])}
    gradients = {"large": jnp.array([[30.0, 40.0]]), "zero": jnp.array([0.0, 2.0]), "small": jnp.array([0.01])}
    clip = adaptive_clip(0.3, floor=1e-3)
    clipped, _ = clip.update(gradients, clip.init(params), params)
    np.testing.assert_allclose(clipped["large"], [[0.9, 1.2]], rtol=1e-5)  # norm 50 to 0.3 * 5
    np.testing.assert_allclose(clipped["zero"], [0.0, 3e-4], rtol=1e-5)  # to 0.3 * floor
    np.testing.assert_allclose(clipped["small"], [0.01], rtol=1e-6)  # left alone


def test_weight_decay_is_not_scaled_by_the_rate():
    params = jnp.array([10.0])
    with_decay, without = (clipped_adam(1e-3, eps=1e-8, clip_norm=1.0, weight_decay=w) for w in (0.01, 0.0))
    one, other = (
        optax.apply_updates(params, x.update(jnp.ones(1), x.init(params), params)[0]) for x in (with_decay, without)
    )
    np.testing.assert_allclose(other - one, 0.1, rtol=1e-4)


def test_named_parts_take_steps_of_their_own():
    updates = {"model": {"w": jnp.array([1.0, -2.0])}, "actor": jnp.array([3.0])}
    optimizer = scale_parts({"actor": 0.5, "absent": 7.0})
    scaled, _ = optimizer.update(updates, optimizer.init(updates))
    np.testing.assert_allclose(scaled["model"]["w"], [1.0, -2.0])
    np.testing.assert_allclose(scaled["actor"], [1.5])
