"""The inputs from which diagnostics are built, and their registry entry."""

from collections.abc import Callable
from typing import NamedTuple

from latentplan.checks import call_problem
from latentplan.types import AnyBelief, Array, Diagnostic, Key, Params, WorldModel


class Subject(NamedTuple):
    """An agent's measurable parts.

    Attributes:
        model: its world model.
        horizon: its planning or imagination horizon, in decisions.
        policy: (params, belief [...], key) -> action [..., A], an actor trained in imagination; None without one.
        reward_target: (reward [...]) -> [...], the model's regression target for a reward.
    """

    model: WorldModel
    horizon: int
    policy: Callable[[Params, AnyBelief, Key], Array] | None = None
    reward_target: Callable[[Array], Array] = lambda reward: reward

    def has(self, *needs: str) -> bool:
        """Whether all named parts exist: "policy", or an optional part of the model ("decode", "terminal").

        Raises:
            ValueError: a name is unknown.
        """
        parts = self.model._asdict() | self._asdict()
        unknown = [name for name in needs if name not in parts]
        if unknown:
            known, given = ", ".join(parts), ", ".join(unknown)
            raise ValueError(f"needs: expected names among {known}, got {given}; correct the name")
        return all(parts[name] is not None for name in needs)


class DiagnosticEntry(NamedTuple):
    """Registry entry of a diagnostic.

    Attributes:
        make: (Subject) -> Diagnostic.
        needs: names of the parts of the subject that it requires; agents that lack one skip the diagnostic.
    """

    make: Callable[[Subject], Diagnostic]
    needs: tuple[str, ...] = ()

    def problem(self) -> str:
        """What keeps the entry from being used; "" if nothing does."""
        if not isinstance(self.needs, tuple):
            return f"needs: expected a tuple of names, got {self.needs!r}; write ({self.needs!r},)"
        call = call_problem(self.make, ("subject",))
        return call and f"make: {call}; correct its arguments"
