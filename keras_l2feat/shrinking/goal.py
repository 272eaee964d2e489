"""What is asked for, and which round comes next: how much goes, and how long is trained on.

What comes next is a function of the rounds so far alone, so a run that was cut short goes on as if
it had not been.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_l2feat.errors import InputError, bad_argument, require_counts
from keras_l2feat.pruning.guarantees.targets import share
from keras_l2feat.pruning.takeover.sizes import SIZES

__all__ = ["GOALS", "Goal"]

GOALS = (*SIZES, "latency", "loss", "accuracy")
LEAST = 0.7  # share of what is left that a round keeps, about, on the way to a size
TRIED = 0.6  # the same in the first round on the way to a loss or an accuracy
FINEST = 0.97  # with less to gain, no round is tried
ROUNDS = 10  # on the way to a loss or an accuracy


@dataclass(frozen=True)
class Goal:
    """One thing that is asked for.

    Attributes:
        name: of `GOALS`.
        value: the share of a size that may stay; by which part the loss may rise; or by how much
            the accuracy may fall.
        epochs: of training, all rounds together.
        rounds: number of rounds, `None` for a usual one.
    """

    name: str
    value: float
    epochs: int
    rounds: int | None = None

    @classmethod
    def of(cls, options: Mapping, epochs: int, rounds: int | None = None) -> "Goal":
        """The one target among options.

        Raises:
            InputError: there is none, or several, or a value makes no sense.
        """
        for name in options:
            if name not in GOALS:
                raise InputError(f"Shrinking has no target {name!r}. Targets: {', '.join(GOALS)}.")
        given = {name: value for name, value in options.items() if value is not None}
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise InputError(
                f"One target is expected, of {', '.join(GOALS)}, as flops=0.5. Received: {found}."
            )
        require_counts(epochs=epochs, rounds=rounds)
        if rounds is not None and rounds > epochs:
            raise bad_argument("rounds", f"at most the number of epochs, {epochs}", rounds)
        ((name, value),) = given.items()
        sign = {"loss": "+", "accuracy": "-"}.get(name, "")
        bare = value
        if isinstance(value, str):
            bare = value.removeprefix(sign) if value[:1] in (sign, *"0123456789.") else None
        if isinstance(value, (int, float)) and name == "accuracy":
            bare = abs(value)
        number = share(name, bare)
        if name not in ("loss", "accuracy") and not 0 < number < 1:
            raise bad_argument(name, "the share that may stay, between 0 and 1", value)
        return cls(name, number, epochs, rounds)

    @property
    def sized(self) -> bool:
        """Whether it is a size, or else a change that is measured on points held out."""
        return self.name not in ("loss", "accuracy")

    @property
    def size(self) -> str:
        """The size that is cut down to."""
        return self.name if self.name in SIZES else "flops"

    def next(self, rounds: Sequence[dict]) -> tuple | None:
        """`(share, epochs)` of the round after some rounds: which share of the size that the
        original has shall be left, and how many epochs follow; `None` if it is over.

        Args:
            rounds: records, each with "share" (of the size, as reached), "epochs", "kept".
        """
        return self._to_size(rounds) if self.sized else self._to_change(rounds)

    def _to_size(self, rounds):
        wanted = self.rounds or math.ceil(math.log(self.value) / math.log(LEAST) - 1e-9)
        count = max(1, wanted if self.rounds else min(wanted, self.epochs // 2))
        if len(rounds) >= count:
            return None
        early = max(1, self.epochs // 2 // max(count - 1, 1))
        here = early if len(rounds) < count - 1 else self.epochs - early * (count - 1)
        return self.value ** ((len(rounds) + 1) / count), here

    def _to_change(self, rounds):
        left = self.epochs - sum(record["epochs"] for record in rounds)
        each = max(1, self.epochs // (self.rounds or ROUNDS))
        factor, now = TRIED, 1.0
        for record in rounds:
            if record["kept"]:
                now = record["share"]
            else:
                factor **= 0.5
        if left < 1 or factor > FINEST or (self.rounds and len(rounds) >= self.rounds):
            return None
        return now * factor, left if left < 2 * each else each

    def reached(self, before: dict, after: dict) -> bool:
        """Whether what was measured on points held out is good enough, `before` of the original."""
        if self.sized:
            return True
        if self.name == "loss":
            return after["loss"] <= (1 + self.value) * before["loss"]
        return before["accuracy"] - after["accuracy"] <= self.value + 1e-12
