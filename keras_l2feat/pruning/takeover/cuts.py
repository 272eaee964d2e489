"""How far an order of removals is gone: the first so many steps, and what is left after them."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.sizes import Sizes

__all__ = ["Cuts", "first"]


class Cuts:
    """The order in which units of a network can go.

    Args:
        engine: a `Takeover`; harm: see `Takeover.order`.
        price: the size that a removal is weighed against.
    """

    def __init__(self, engine: Takeover, harm: Callable, price: str) -> None:
        self.engine, self.sizes = engine, Sizes(engine.graph)
        self.steps = engine.order(harm, self.sizes.saved(price))
        self.orders: list[list[int]] = [[] for _ in engine.sites]
        for step in self.steps:
            self.orders[step.site].append(step.index)

    def counts(self, cut: int) -> tuple[int, ...]:
        """How many units of each site are among the first `cut` steps, a tuple."""
        sites = [step.site for step in self.steps[:cut]]
        return tuple(sites.count(site) for site in range(len(self.orders)))

    def gone(self, counts: Sequence[int]) -> np.ndarray:
        """(units,) bool after so many removals at each site."""
        gone = np.zeros(len(self.engine.graph.pinned), dtype=bool)
        for site, order, count in zip(self.engine.sites, self.orders, counts):
            gone[site.units[order[:count]]] = True
        return gone

    def size(self, counts: Sequence[int]) -> dict:
        """The sizes after so many removals at each site."""
        return self.sizes.of(~self.gone(counts))

    def fewest(self, holds: Callable) -> tuple[int, ...]:
        """The removals at each site by the fewest steps for which something holds that goes on to
        hold, `holds(counts) -> bool`; all where it never does before."""
        return self.counts(first(lambda cut: holds(self.counts(cut)), 0, len(self.steps)))

    def to_size(self, name: str, most: float) -> tuple[int, ...]:
        """The removals at each site by the fewest steps after which a size is at most `most`."""
        return self.fewest(lambda counts: self.size(counts)[name] <= most)


def first(holds: Callable, low: int, high: int) -> int:
    """The first number in [low, high] for which something holds that goes on to hold; `high` if it
    never does before."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
