"""Networks as (init, apply) pairs on parameter pytrees. The only package that imports flax.linen."""
