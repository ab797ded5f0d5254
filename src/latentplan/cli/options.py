"""Command-line parsing of configs: choices from registries, and errors that name the option of a field."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from latentplan.cli.extensions import Imports
from latentplan.config import Annotation, Config, ConfigError, OneOf, default_words, field_hints, split_hint
from latentplan.extensions import IMPORTS
from latentplan.presets.experiment import FLAT, Alias

Made = TypeVar("Made")


class _Refused(Exception):
    """A `ConfigError` on its way through tyro, which would put a `ValueError` into a box of its own."""


def parse(default: Config | type[Config], argv: list[str], description: str | None, program: Sequence[str]) -> Any:
    """Parses a config from a command line.

    Args:
        default: a config with the defaults, or a config class.
        argv: the command line.
        description: for the help.
        program: the program's name, as it was typed.

    Returns:
        A config of that class.

    Raises:
        ValueError: an option has an invalid value, names what is not registered, or has several values and is given
            twice; the message names it.
        SystemExit: after the help, with 0, or options that cannot be read, with 2.
    """
    _check_once(default, argv)
    _check_registered(default, argv)
    start = {"f": default} if isinstance(default, type) else {"f": type(default), "default": default}
    with naming_options(default), _choices_from_registries():
        return tyro.cli(args=argv, prog=" ".join(program), description=description, **start)


@contextmanager
def naming_options(config: object) -> Iterator[None]:
    """Converts `ConfigError`s raised inside so that they name the command-line option of the field.

    Args:
        config: the parsed config, its defaults, or its class.

    Raises:
        ValueError: in place of a `ConfigError`.
    """
    try:
        yield
    except (ConfigError, _Refused) as caught:
        error = caught.args[0] if isinstance(caught, _Refused) else caught
        wrong = (error.config, error.field)
        found = {f"--{option}": value for kind, name, value, _, option in _settings(config) if (kind, name) == wrong}
        options = " or ".join(found) or f"{error.config.__name__}.{error.field}"
        problem = error.problem
        for value in found.values():  # the preset's default in place of the class's
            problem = re.sub(r"\bthe default is [^;]*", default_words(value).replace("\\", r"\\"), problem)
        raise ValueError(f"{options}: {problem}") from error


def _check_once(config: object, argv: Sequence[str]) -> None:
    """Raises if an option with several values is given again, which would drop the first ones."""
    given = [word.partition("=")[0].replace("_", "-") for word in argv]
    for _, _, _, hint, option in _settings(config):
        kind, extras = split_hint(hint)
        if get_origin(kind) is tuple and IMPORTS not in extras and given.count(f"--{option}") > 1:
            raise ValueError(f"--{option}: expected once, with all its values, got it again; write --{option} A B")


def _check_registered(config: object, argv: Sequence[str]) -> None:
    """Raises if an option names an entry that its registry does not have; tyro's own error lacks the advice."""
    words = [word for given in argv for word in (given.split("=", 1) if given.startswith("--") else [given])]
    given = {word.replace("_", "-"): value for word, value in zip(words, words[1:], strict=False)}
    for kind, name, _, hint, option in _settings(config):
        for extra in split_hint(hint)[1]:
            value = given.get(f"--{option}")
            if isinstance(extra, OneOf) and extra.advice and value is not None and extra.problem(value):
                problem = f"expected {extra.problem(value)}, got {value!r}; {extra.advice}"
                with naming_options(config):
                    raise ConfigError(kind, name, problem)


def _settings(config: object, prefix: str = "") -> Iterator[tuple[type, str, object, Annotation, str]]:
    """All settings of a config and its parts: class, field, value, annotation and option."""
    kind = config if isinstance(config, type) else type(config)
    for name, hint in field_hints(kind).items():
        base, extras = split_hint(hint)
        shorter = [extra for extra in extras if isinstance(extra, Alias)]
        option = shorter[0] if shorter else prefix + name.replace("_", "-")
        yield kind, name, getattr(config, name, None), hint, option
        part = getattr(config, name, base)  # a class without a plain default: the field's class
        if dataclasses.is_dataclass(part):
            yield from _settings(part, prefix if FLAT in extras else f"{option}.")


def _choices_from_registries() -> ConstructorRegistry:
    """Tyro's rules, and that what is `OneOf` a registry shows the registry's names."""
    rules = ConstructorRegistry()
    inside = False

    @rules.struct_rule
    def config_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal inside
        if inside or not (isinstance(info.type, type) and issubclass(info.type, Config)):
            return None
        inside = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        fields = tuple(dataclasses.replace(field, type=_for_tyro(field.type)) for field in spec.fields)
        return StructConstructorSpec(_passing(spec.instantiate), fields)

    return rules


def _passing(make: Callable[..., Made]) -> Callable[..., Made]:
    def instantiate(**values: object) -> Made:
        try:
            return make(**values)
        except ConfigError as error:
            raise _Refused(error) from error

    return instantiate


def _for_tyro(hint: Annotation) -> Annotation:
    """An annotation with the names that are choices now in the place of `str`, and tyro's own words for markers."""
    kind, extras = split_hint(hint)
    if IMPORTS in extras:
        return Imports
    more = [tyro.conf.arg(name="")] if FLAT in extras else []
    for extra in extras:
        if isinstance(extra, OneOf):
            kind = Literal[extra.names]
            if "" in extra.names:  # which stands for none of them
                more.append(tyro.conf.arg(metavar=f"{{{','.join(filter(None, extra.names))}}}"))
    more += [tyro.conf.arg(aliases=[f"--{extra}"]) for extra in extras if isinstance(extra, Alias)]
    return Annotated[(kind, *extras, *more)] if extras else hint
