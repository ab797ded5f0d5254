"""What diagnostics are built from, and how one is registered."""

from collections.abc import Callable
from typing import Any, NamedTuple

from latentplan.types import Array, Diagnostic, Key, Params, WorldModel


class Subject(NamedTuple):
    """The parts of an agent that can be measured.

    Attributes:
        model: its world model.
        horizon: decisions that its plans, or what it imagines, look ahead.
        policy: (params, belief [...], key) -> action [..., A], an actor that learns in imagination; None without one.
        reward_target: (reward [...]) -> [...], what the model is taught to predict of a reward.
    """

    model: WorldModel
    horizon: int
    policy: Callable[[Params, Any, Key], Array] | None = None
    reward_target: Callable[[Array], Array] = lambda reward: reward

    def has(self, *needs: str) -> bool:
        """Whether it has all of these: "policy", or an optional part of the model ("decode", "terminal").

        Raises:
            ValueError: one is the name of no part.
        """
        parts = self.model._asdict() | self._asdict()
        unknown = [name for name in needs if name not in parts]
        if unknown:
            raise ValueError(f"needs: expected among {', '.join(parts)}, got {', '.join(unknown)}; name a part")
        return all(parts[name] is not None for name in needs)


class DiagnosticEntry(NamedTuple):
    """How a diagnostic is built.

    Attributes:
        make: (Subject) -> Diagnostic.
        needs: the parts of the subject that it cannot do without, by name; agents that lack one do without it.
    """

    make: Callable[[Subject], Diagnostic]
    needs: tuple[str, ...] = ()
