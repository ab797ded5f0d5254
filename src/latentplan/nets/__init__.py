"""Networks as pairs of pure functions (init, apply). The only package that imports flax.linen."""
