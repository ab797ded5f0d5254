"""Recurrent cells, a single step each; the models scan over them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from latentplan.nets.network import INITS, Network, Style, activate, dense, from_linen
from latentplan.types import Array


class _GRU(nn.Module):
    """r, u = sigmoid(W [x, h] + 1);  c = tanh(V [x, r h]);  h' = u h + (1 - u) c."""

    size: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, h: Array) -> Array:
        gates = nn.Dense(
            2 * self.size,
            dtype=jnp.dtype(self.style.dtype),
            kernel_init=INITS[self.style.weights],
            bias_init=jax.nn.initializers.ones,  # initially keeps most of the state
            name="gates",
        )(jnp.concatenate([x, h], -1))
        reset, update = jnp.split(jax.nn.sigmoid(gates), 2, -1)
        candidate = dense(self.size, self.style, "candidate")(jnp.concatenate([x, reset * h], -1))
        return (update * h + (1.0 - update) * jnp.tanh(candidate)).astype(jnp.float32)


class _NormedGRU(nn.Module):
    """r, c, u = LayerNorm(W [x, h]);  h' = h + sigmoid(u - 1) (tanh(sigmoid(r) c) - h)."""

    size: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, h: Array) -> Array:
        parts = dense(3 * self.size, self.style, "parts")(jnp.concatenate([x, h], -1))
        parts = nn.LayerNorm(1e-3, name="norm")(parts.astype(jnp.float32))
        reset, candidate, update = jnp.split(parts, 3, -1)
        return gated(reset, candidate, update, h)


class BlockLinear(nn.Module):
    """A linear layer whose matrix is block-diagonal."""

    size: int
    blocks: int
    style: Style

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., inputs] -> [..., size]."""
        dtype, inputs, outputs = jnp.dtype(self.style.dtype), x.shape[-1] // self.blocks, self.size // self.blocks
        kernel = self.param("kernel", INITS[self.style.weights], (self.blocks, inputs, outputs), jnp.float32)
        bias = self.param("bias", jax.nn.initializers.zeros, (self.size,), jnp.float32)
        x = x.reshape(*x.shape[:-1], self.blocks, inputs).astype(dtype)
        x = jnp.einsum("...gi,gio->...go", x, kernel.astype(dtype))
        x = x.reshape(*x.shape[:-2], self.size)
        return x + jnp.broadcast_to(bias.astype(dtype), x.shape)


def gated(
    reset: Float[Array, "*batch D"],
    candidate: Float[Array, "*batch D"],
    update: Float[Array, "*batch D"],
    h: Float[Array, "*batch D"],
) -> Float[Array, "*batch D"]:
    """GRU update u tanh(r c) + (1 - u) h, with r = sigmoid(reset) and u = sigmoid(update - 1).

    Args:
        reset: [..., D], before the sigmoid, as are candidate and update.
        candidate: [..., D].
        update: [..., D].
        h: [..., D].

    Returns:
        [..., D], float32.
    """
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    update = jax.nn.sigmoid(update - 1.0)
    return (update * candidate + (1.0 - update) * h).astype(jnp.float32)


class _RecurrentStep(nn.Module):
    """Hidden layers on the inputs, followed by a GRU."""

    size: int
    hidden: int
    layers: int
    style: Style
    cell: str

    @nn.compact
    def __call__(self, stoch: Array, action: Array, h: Array) -> Array:
        x = jnp.concatenate([stoch, action], -1)
        for _ in range(self.layers):
            x = activate(dense(self.hidden, self.style)(x), self.style)
        cell = {"gru": _GRU, "normed": _NormedGRU}[self.cell]
        return cell(self.size, self.style, name="gru")(x, h)


class _BlockRecurrentStep(nn.Module):
    """A block-diagonal GRU: each block of h reads all inputs, through narrow layers, but only its own part of h."""

    size: int
    hidden: int
    style: Style
    blocks: int

    @nn.compact
    def __call__(self, stoch: Array, action: Array, h: Array) -> Array:
        lead = h.shape[:-1]

        def in_blocks(x: Array) -> Array:
            return x.reshape(*lead, self.blocks, -1)

        action = action / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))
        inputs = [activate(dense(self.hidden, self.style)(x), self.style) for x in (h, stoch, action)]
        shared = jnp.concatenate(inputs, -1)[..., None, :]
        shared = jnp.broadcast_to(shared, (*lead, self.blocks, shared.shape[-1]))
        x = jnp.concatenate([in_blocks(h).astype(shared.dtype), shared], -1).reshape(*lead, -1)
        x = activate(BlockLinear(self.size, self.blocks, self.style, name="hidden")(x), self.style)
        parts = BlockLinear(3 * self.size, self.blocks, self.style, name="gru")(x)
        reset, candidate, update = jnp.split(in_blocks(parts), 3, -1)
        # In blocks: on flat arrays XLA reads each gate separately.
        return gated(reset, candidate, update, in_blocks(h)).reshape(*lead, -1)


def make_recurrent_step(
    stoch_size: int,
    action_size: int,
    size: int,
    *,
    hidden: int,
    layers: int,
    style: Style,
    cell: str = "gru",
    blocks: int = 8,
) -> Network:
    """Builds the RSSM's deterministic path.

    Args:
        stoch_size: of the stochastic latent, flat.
        action_size: A.
        size: D.
        hidden: units of the layers before the cell.
        layers: their number; the block cell has one per input.
        style: of the layers.
        cell: "gru": Cho et al. 2014, with the reset before the matrix product, as in PlaNet; "normed": with one
            LayerNorm over all gates and the reset after the product, as in Dreamer V2 (`common/nets.py`, GRUCell);
            "block": block-diagonal, as in Dreamer V3 (Nature 2025, methods; `rssm.py`, `_core`).
        blocks: of the block cell; must divide `size`.

    Returns:
        Network whose apply maps (stoch [..., stoch_size], action [..., A], h [..., D]) to the next h, float32.
    """
    if cell == "block":
        if size % blocks:
            raise ValueError(f"size: expected a multiple of blocks = {blocks}, got {size}")
        module: nn.Module = _BlockRecurrentStep(size, hidden, style, blocks)
    else:
        module = _RecurrentStep(size, hidden, layers, style, cell)
    return from_linen(module, stoch_size, action_size, size)
