"""What a checker is told: which units went, and by which ones each can be expressed.

Plain integers and nothing that has to be believed. The checker finds all factors and constants from
the weights; a wrong hint makes it fail to see that two models are equal, never the reverse.
"""

from dataclasses import dataclass, field
from typing import Any

from keras_l2feat.checking.schema import number, require, whole

__all__ = ["Maps"]

FORMAT = "keras-l2feat maps 1"
SCHEMA = {
    "format": {FORMAT},
    "removed": {str: [whole]},
    "sources": {str: [(whole, [[(whole, number, [str])]])]},
    "scale": {str: [(whole, number)]},
    "constants?": {str: [(whole, [number])]},
}


@dataclass
class Maps:
    """How a pruned model's units come from the original's; units are named `(layer, index)`.

    Attributes:
        removed: layer → indices of the units that are gone.
        sources: unit that is gone → list of alternatives, each a dict of kept units of which it may
            be a combination, with factors to try. Units of which nothing is listed are constant, or
            nobody's.
        scale: unit that is kept → what it was multiplied by, where that is not 1.
        constants: unit that is gone → list of constants to try, that are added to what stands for
            it.
    """

    removed: dict = field(default_factory=dict)
    sources: dict = field(default_factory=dict)
    scale: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain data; within a layer, a source of the same layer is its index alone."""
        sources: dict = {}
        for (layer, index), choices in self.sources.items():
            named = [
                [[q, f] if home == layer else [q, f, home] for (home, q), f in units.items()]
                for units in choices
            ]
            sources.setdefault(layer, []).append([index, *named])
        return {
            "format": FORMAT,
            "removed": self.removed,
            "sources": sources,
            "scale": _by_layer({unit: [value] for unit, value in self.scale.items()}),
            "constants": _by_layer(self.constants),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Maps":
        """The maps of `to_json`.

        Raises:
            InputError: `value` is something else.
        """
        require(value, SCHEMA, "The maps of a certificate")
        sources = {
            (layer, unit): [
                {(home[0] if home else layer, q): float(f) for q, f, *home in units}
                for units in choices
            ]
            for layer, rows in value["sources"].items()
            for unit, *choices in rows
        }
        scale = {
            (layer, unit): float(factor)
            for layer, rows in value["scale"].items()
            for unit, factor in rows
        }
        constants = {
            (layer, unit): [float(value) for value in told]
            for layer, rows in value.get("constants", {}).items()
            for unit, *told in rows
        }
        return cls(value["removed"], sources, scale, constants)


def _by_layer(values):
    """layer → list of [index, value, …]."""
    found: dict = {}
    for (layer, index), told in values.items():
        found.setdefault(layer, []).append([index, *told])
    return found
