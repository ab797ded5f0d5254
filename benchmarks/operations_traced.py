"""Floating-point operations of any function, counted from its traced program: 2 x multiply-adds of its products."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params


def of_function(function: Callable, *inputs: Any) -> float:
    """Operations of a call: matrix products and convolutions, those in loops counted once per iteration.

    A gradient's program is counted as JAX writes it, not as a paper would.

    Args:
        function: traceable.
        inputs: arrays or their shapes.

    Returns:
        2 x multiply-adds.
    """
    return _count(jax.make_jaxpr(function)(*inputs).jaxpr)


def _count(jaxpr: Any) -> float:
    return math.fsum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> float:
    shapes = [variable.aval.shape for variable in equation.invars if hasattr(variable.aval, "shape")]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        return _count_convolution(shapes[0], shapes[1], equation.outvars[0].aval.shape, equation.params)
    if equation.primitive.name == "cond":  # of lax.platform_dependent: lax.conv is the last branch
        return _count(equation.params["branches"][-1].jaxpr)
    inner = sum(_count(jaxpr) for jaxpr in jaxprs_in_params(equation.params))
    return inner * equation.params.get("length", 1)


def _count_convolution(image: Any, kernel: Any, output: Any, params: Any) -> float:
    """Taps that meet a value: neither padding nor the holes between dilated values are multiplied."""
    names = params["dimension_numbers"]
    taps = 1
    for axis in range(2):
        out = np.arange(output[names.out_spec[2 + axis]])[:, None] * params["window_strides"][axis]
        tap = np.arange(kernel[names.rhs_spec[2 + axis]])[None] * params["rhs_dilation"][axis]
        position = out + tap - params["padding"][axis][0]
        dilation = params["lhs_dilation"][axis]
        inside = (position >= 0) & (position <= (image[names.lhs_spec[2 + axis]] - 1) * dilation)
        taps *= int(np.sum(inside & (position % dilation == 0)))
    features = kernel[names.rhs_spec[0]] * kernel[names.rhs_spec[1]]
    return 2.0 * taps * features * image[names.lhs_spec[0]]
