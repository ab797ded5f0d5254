"""Convolutions: the two implementations against each other and NumPy loops; the paper's encoder and decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.nets import strided
from latentplan.nets.conv_tdmpc import make_shallow_encoder
from latentplan.nets.conv_world_models import embed_size, make_conv_decoder, make_conv_encoder
from latentplan.nets.network import Style

# (height, width, channels in, channels out, kernel size), as in the encoder and decoder with depth 2, and odd ones.
CONVS = [(64, 64, 3, 2, 4), (31, 31, 2, 4, 4), (14, 14, 4, 8, 4), (6, 6, 8, 16, 4), (9, 12, 2, 3, 5)]
DECONVS = [(1, 1, 16, 8, 5), (5, 5, 8, 4, 5), (13, 13, 4, 2, 6), (30, 30, 2, 3, 6), (3, 4, 2, 3, 4)]


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def value_and_gradients(function, x, kernel):
    """The output and the gradients of a weighted sum of it, so that no symmetry hides an error."""

    @jax.jit
    def both(x, kernel):
        output, pull = jax.vjp(function, x, kernel)
        weights = jnp.sin(jnp.arange(output.size, dtype=jnp.float32)).reshape(output.shape)
        return output, *pull(weights)

    return both(x, kernel)


def assert_all_close(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("height", "width", "inputs", "outputs", "size"), CONVS)
def test_both_convolutions_agree_in_value_and_gradients(height, width, inputs, outputs, size):
    x, kernel = draw(2, height, width, inputs), draw(size, size, inputs, outputs, seed=1)
    assert_all_close(
        value_and_gradients(strided._conv_phases, x, kernel), value_and_gradients(strided._conv_lax, x, kernel)
    )


@pytest.mark.parametrize(("height", "width", "inputs", "outputs", "size"), DECONVS)
def test_both_transposed_convolutions_agree_in_value_and_gradients(height, width, inputs, outputs, size):
    x, kernel = draw(2, height, width, inputs), draw(size, size, inputs, outputs, seed=1)
    got = value_and_gradients(strided._deconv_phases, x, kernel)
    assert_all_close(got, value_and_gradients(strided._deconv_lax, x, kernel))


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize("implementation", [strided._conv_phases, strided._conv_lax])
def test_convolution_is_the_naive_loop(implementation, size):
    x, kernel = np.asarray(draw(2, 9, 11, 3)), np.asarray(draw(size, size, 3, 2, seed=1))
    rows, cols = (9 - size) // 2 + 1, (11 - size) // 2 + 1
    expected = np.zeros((2, rows, cols, 2))
    for n, i, j in np.ndindex(2, rows, cols):
        window = x[n, 2 * i : 2 * i + size, 2 * j : 2 * j + size]
        expected[n, i, j] = np.einsum("abc,abcf->f", window, kernel)
    np.testing.assert_allclose(implementation(jnp.asarray(x), jnp.asarray(kernel)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize("implementation", [strided._deconv_phases, strided._deconv_lax])
def test_transposed_convolution_is_the_naive_loop(implementation, size):
    x, kernel = np.asarray(draw(2, 3, 4, 3)), np.asarray(draw(size, size, 3, 2, seed=1))
    expected = np.zeros((2, 4 + size, 6 + size, 2))
    for n, i, j in np.ndindex(2, 3, 4):
        expected[n, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += np.einsum("c,abcf->abf", x[n, i, j], kernel)
    np.testing.assert_allclose(implementation(jnp.asarray(x), jnp.asarray(kernel)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "size"), [(1, 5), (5, 5), (13, 6), (6, 4)])
def test_transposed_convolution_is_the_adjoint_of_convolution(height, size):
    kernel = draw(size, size, 3, 2)
    small = draw(2, height, height, 2, seed=1)
    large = draw(2, 2 * (height - 1) + size, 2 * (height - 1) + size, 3, seed=2)
    forward = jnp.vdot(strided.conv2d(large, kernel), small)
    backward = jnp.vdot(large, strided.deconv2d(small, kernel.swapaxes(2, 3)))
    np.testing.assert_allclose(forward, backward, rtol=1e-4)


def test_gradients_of_gradients_pass_through_the_transposed_convolution():
    x, kernel = draw(1, 3, 3, 2), draw(4, 4, 2, 2, seed=1)

    def penalty(deconv):
        inner = jax.grad(lambda x, kernel: jnp.sum(jnp.tanh(deconv(x, kernel))))
        return jax.jit(jax.grad(lambda kernel: jnp.sum(inner(x, kernel) ** 2)))(kernel)

    assert_all_close([penalty(strided.deconv2d)], [penalty(strided._deconv_lax)])


# The paper's networks. Shapes only: nothing is computed.


def parameter_shapes(network) -> dict[str, list[tuple[int, ...]]]:
    params = jax.eval_shape(network.init, jax.random.key(0))
    return {name: [leaf.shape for leaf in jax.tree.leaves(layer)] for name, layer in params.items()}


def count(network) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0))))


def test_the_papers_encoder_has_its_shapes_and_number_of_parameters():
    encoder = make_conv_encoder(64, 3, depth=32, style=Style())
    assert parameter_shapes(encoder) == {
        "_Conv_0": [(32,), (4, 4, 3, 32)],
        "_Conv_1": [(64,), (4, 4, 32, 64)],
        "_Conv_2": [(128,), (4, 4, 64, 128)],
        "_Conv_3": [(256,), (4, 4, 128, 256)],
    }
    assert count(encoder) == 32 + 1536 + 64 + 32_768 + 128 + 131_072 + 256 + 524_288
    params = jax.eval_shape(encoder.init, jax.random.key(0))
    embed = jax.eval_shape(encoder.apply, params, jax.ShapeDtypeStruct((7, 2, 64 * 64 * 3), jnp.float32))
    assert (embed.shape, embed.dtype) == ((7, 2, 1024), jnp.float32)


def test_the_papers_decoder_has_its_shapes_and_number_of_parameters():
    decoder = make_conv_decoder(230, 64, 3, depth=32, style=Style())
    assert parameter_shapes(decoder) == {
        "Dense_0": [(1024,), (230, 1024)],
        "_Conv_0": [(128,), (5, 5, 1024, 128)],
        "_Conv_1": [(64,), (5, 5, 128, 64)],
        "_Conv_2": [(32,), (6, 6, 64, 32)],
        "_Conv_3": [(3,), (6, 6, 32, 3)],
    }
    sizes = (1024 * 231, 128 + 25 * 1024 * 128, 64 + 25 * 128 * 64, 32 + 36 * 64 * 32, 3 + 36 * 32 * 3)
    assert count(decoder) == sum(sizes)
    params = jax.eval_shape(decoder.init, jax.random.key(0))
    image = jax.eval_shape(decoder.apply, params, jax.ShapeDtypeStruct((7, 2, 230), jnp.float32))
    assert (image.shape, image.dtype) == ((7, 2, 64 * 64 * 3), jnp.float32)


@pytest.mark.parametrize(
    ("image_size", "layers", "kernels"), [(16, 2, (6, 6)), (32, 3, (5, 6, 6)), (128, 5, (5, 5, 5, 6, 6))]
)
def test_other_image_sizes_have_a_layer_less_or_more(image_size, layers, kernels):
    encoder = make_conv_encoder(image_size, 3, depth=2, style=Style())
    decoder = make_conv_decoder(5, image_size, 3, depth=2, style=Style())
    embed = 2 * 2 * 2 * 2 ** (layers - 1)  # positions, depth, doublings
    assert embed_size(image_size, 2) == embed
    for network, inputs, outputs in ((encoder, image_size**2 * 3, embed), (decoder, 5, image_size**2 * 3)):
        params = jax.eval_shape(network.init, jax.random.key(0))
        out = jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((7, inputs), jnp.float32))
        assert out.shape == (7, outputs)
    assert len(parameter_shapes(encoder)) == layers
    shapes = parameter_shapes(decoder)
    assert tuple(shapes[f"_Conv_{i}"][1][0] for i in range(layers)) == kernels


def test_leading_axes_are_free_the_decoder_ends_linear_and_the_encoder_in_its_activation():
    encoder = make_conv_encoder(64, 1, depth=2, style=Style())
    decoder = make_conv_decoder(5, 64, 1, depth=2, style=Style())
    for network, size in ((encoder, 64 * 64), (decoder, 5)):
        x = draw(2, 2, size)
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: 0.1 * draw(*leaf.shape), shapes)
        apply = jax.jit(network.apply)
        together = apply(params, x)
        assert np.std(together) > 0
        assert together.min() == 0.0 if network is encoder else together.min() < 0.0 < together.max()
        for i, j in np.ndindex(2, 2):
            np.testing.assert_allclose(together[i, j], apply(params, x[i, j]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "centred"), [("layer", True), ("rms", False)])
def test_norms_stand_before_every_activation_and_take_scale_away(norm, centred):
    encoder = make_conv_encoder(16, 1, depth=4, style=Style(norm=norm))
    params = encoder.init(jax.random.key(0))
    assert sum("Norm" in name for name in params) == 2
    x = draw(3, 16 * 16)
    scaled = params | {"_Conv_1": jax.tree.map(lambda leaf: 7.0 * leaf, params["_Conv_1"])}
    np.testing.assert_allclose(encoder.apply(params, x), encoder.apply(scaled, x), rtol=1e-3, atol=1e-4)
    shifted = params | {"_Conv_1": params["_Conv_1"] | {"bias": params["_Conv_1"]["bias"] + 5.0}}
    same = np.allclose(encoder.apply(params, x), encoder.apply(shifted, x), rtol=1e-3, atol=1e-4)
    assert same == centred


@pytest.mark.parametrize("size", [16, 32, 128])
def test_the_encoder_sees_the_edge(size):
    """Only at 64 x 64 are the last two rows and columns left out, as the paper's kernels do."""
    encoder = make_conv_encoder(size, 1, depth=1, style=Style(activation="elu"))
    params = encoder.init(jax.random.key(0))
    image = jnp.zeros((size, size))
    embed = lambda image: encoder.apply(params, image.reshape(-1))  # noqa: E731
    for edge in (image.at[-1].set(1.0), image.at[:, -1].set(1.0)):
        assert jnp.max(jnp.abs(embed(edge) - embed(image))) > 1e-6
    assert embed(image).shape == (4 * 2 ** (int(np.log2(size)) - 3),)


# TD-MPC's and TD-MPC2's encoders.


def numpy_conv(x, layer, stride):
    """[N, height, width, in] by einsum over all windows, in float64."""
    kernel = np.asarray(layer["kernel"], np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcab,abcf->nijf", windows, kernel) + np.asarray(layer["bias"], np.float64)


@pytest.mark.parametrize(("version", "image_size", "positions"), [(1, 84, 3), (2, 64, 4)])
def test_shallow_encoders_are_numpys(version, image_size, positions):
    encoder = make_shallow_encoder(image_size, 9, 5, depth=4, version=version)
    params = jax.tree.map(lambda x: x + 0.05 * draw(*x.shape), encoder.init(jax.random.key(0)))
    image = np.random.default_rng(2).uniform(size=(2, image_size, image_size, 9))
    x = image
    for i, stride in enumerate((2, 2, 2, 3 - version)):
        x = numpy_conv(x, params[f"_Conv_{i}"], stride)
        x = x if version == 2 and i == 3 else np.maximum(x, 0)
    assert x.shape == (2, positions, positions, 4)
    flat = x.transpose(0, 3, 1, 2).reshape(2, -1)  # channels first, as in PyTorch
    expected = flat @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"])
    found = encoder.apply(params, jnp.asarray(image.reshape(2, -1), jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_tdmpc2s_encoder_needs_no_linear_layer_at_its_own_size_and_tdmpcs_always_has_one():
    names = [set(parameter_shapes(make_shallow_encoder(64, 9, 512, depth=32, version=v))) for v in (1, 2)]
    assert names[0] - names[1] == {"Dense_0"} and len(names[1]) == 4


def test_shallow_encoders_start_as_their_papers_code_does():
    """Orthogonal with ReLU's gain for TD-MPC; PyTorch's uniform, within 1 / sqrt(fan in), for TD-MPC2."""
    first, second = (make_shallow_encoder(64, 9, 50, depth=16, version=v).init(jax.random.key(0)) for v in (1, 2))
    for i in range(4):
        kernel = np.asarray(first[f"_Conv_{i}"]["kernel"]).reshape(-1, 16)
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(16), atol=1e-5)
        assert not np.any(first[f"_Conv_{i}"]["bias"])
        layer = second[f"_Conv_{i}"]
        limit = np.prod(layer["kernel"].shape[:3]) ** -0.5
        for values in layer.values():
            assert 0.6 * limit < np.abs(values).max() <= limit
    dense = np.asarray(first["Dense_0"]["kernel"])
    np.testing.assert_allclose(dense.T @ dense, np.eye(50), atol=1e-5)
