"""Public functions of the pure packages say the shapes of their arrays; tests/conftest.py has them checked."""

import ast
from pathlib import Path

import pytest
from conftest import PURE

import latentplan

SOURCE = Path(latentplan.__file__).parent
ARRAYS = ("Array", "ArrayLike", "ndarray", "jax.Array", "jnp.ndarray", "np.ndarray")


def pure_modules():
    for name in PURE:
        module = SOURCE / f"{name}.py"
        yield from [module] if module.exists() else sorted((SOURCE / name).rglob("*.py"))


def bare_arrays(annotation: ast.expr):
    """Every array in an annotation whose shape is not said.

    What a function that is passed on takes and returns is left to its own protocol or docstring: no call checks it.
    """
    if ast.unparse(annotation) in ARRAYS or isinstance(annotation, ast.Constant) and annotation.value in ARRAYS:
        yield annotation
    elif isinstance(annotation, ast.Subscript):
        subject = ast.unparse(annotation.value)
        of_jaxtyping = isinstance(annotation.slice, ast.Tuple) and ast.unparse(annotation.slice.elts[0]) in ARRAYS
        of_jaxtyping &= subject in ("Float", "Int", "Bool", "UInt8", "Integer", "Num", "Shaped")
        if not (of_jaxtyping or subject == "Callable"):
            yield from bare_arrays(annotation.slice)
    else:
        for part in ast.iter_child_nodes(annotation):
            if isinstance(part, ast.expr):
                yield from bare_arrays(part)


def unshaped(source: str) -> list[str]:
    """FUNCTION.ARGUMENT, or FUNCTION for its result, of the public functions of a module."""
    found = []
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
            continue
        arguments = [x for x in ast.walk(function.args) if isinstance(x, ast.arg)]
        said = {f"{function.name}.{x.arg}": x.annotation for x in arguments} | {function.name: function.returns}
        found += [name for name, annotation in said.items() if annotation is None or any(bare_arrays(annotation))]
    return found


@pytest.mark.parametrize("module", list(pure_modules()), ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_functions_say_the_shapes_of_their_arrays(module):
    assert unshaped(module.read_text()) == []


@pytest.mark.parametrize(
    ("said", "complaints"),
    [
        ("x: Array", ["f.x"]),
        ("x: jax.Array | None = None", ["f.x"]),
        ("*, x: 'Array'", ["f.x"]),
        ("x", ["f.x"]),
        ("x: dict[str, Array], *rest: np.ndarray", ["f.x", "f.rest"]),
        ("x: tuple[Float[Array, 'T B'], Array]", ["f.x"]),
        ("x: dict[str, Float[Array, '...']], key: Key, act: Callable[[Array], Array], params: Params", []),
    ],
)
def test_arrays_without_shapes_are_found(said, complaints):
    assert sorted(unshaped(f"def f({said}) -> None: ...")) == sorted(complaints)
    assert unshaped("def f() -> tuple[Array, Metrics]: ...") == ["f"]
    assert unshaped("def _f(x: Array) -> None: ...") == []
