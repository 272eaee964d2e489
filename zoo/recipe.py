"""Recipes: how each pair of models is made, as YAML in `recipes/`, one file a pair.

What a recipe holds, beside the fields with defaults below:

    title: …               what the pair is, one sentence
    family: mnist-1k       models that belong together
    data: mnist-1k         a name that `data.load` knows
    lam: 1.0e-3            λ
    steps:                 of zoo/steps/, in this order, each with its options; the first makes
                           the wide parent
      - mlp: {widths: [64, 64]}
      - fit: {max_iterations: 300}
    tolerances:            of `l2feat zoo build --check`: {figure: greatest difference}
      train_loss: 0.001
"""

import dataclasses
import hashlib
from typing import Any

from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError
from keras_l2feat.zoo.best import least
from keras_l2feat.zoo.registry import FOLDER

__all__ = ["GAP", "PLATEAU", "Recipe", "recipe", "recipes"]

PLATEAU = 1e-3  # part of the least loss known within which a network stands on the plateau …
GAP = 0.02  # … if its insertion certificate leaves no more than this


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One recipe; the fields are those of the YAML file.

    `name` is the file's, the models are called `NAME-wide` and `NAME-narrow`; where the pair stands
    on the plateau, `NAME-plateau`, or as the recipe itself if it is called `X-plateau`. `sha256` is
    of the file's bytes.
    """

    name: str
    sha256: str
    title: str
    data: str
    lam: float
    steps: list
    family: str
    tolerances: dict
    cost: str | None = None  # C; the data set's own
    beta: float = 1.0
    activation: str = "relu"
    dtype: str = "float32"  # of the saved models; dense networks are trained in float64
    seed: int = 0
    guarantee: str = "exact"  # with which the parent is pruned
    prune: dict = dataclasses.field(default_factory=dict)  # further options of the pruner
    certificate: bool = True  # whether the insertion certificate is computed
    optimum: str | None = None  # what theory says of it
    within: float | None = None  # by which part of `best` the narrow model may be above it
    gap: float | None = None  # the greatest that its insertion certificate may leave
    pair: bool = True  # without, the steps end with the one model `NAME-shrunk`

    def problem(self, data: Dataset) -> Any:
        """What training minimizes: an `objectives.Problem`."""
        from keras_l2feat.objectives import Problem

        return Problem(data, self.lam, self.cost, self.activation, self.beta)

    @property
    def models(self) -> dict:
        """The models' names by role."""
        if not self.pair:
            return {"shrunk": f"{self.name}-shrunk"}
        stem = self.name.removesuffix("-plateau")
        return {role: f"{stem if role == 'plateau' else self.name}-{role}" for role in self.roles}

    @property
    def roles(self) -> tuple:
        """What the two models are: the narrow one stands on the plateau only if theory says so, or
        if it is within 0.1 % of the least loss known and its gap is closed up to 2 %."""
        reached = (self.within, PLATEAU), (self.gap, GAP)
        plateau = all(figure is not None and figure <= most for figure, most in reached)
        return ("wide", "plateau" if plateau or self.optimum is not None else "narrow")

    @property
    def best(self) -> float | None:
        """The least loss known of the data at λ, whatever the width."""
        return least(self.data, self.lam)

    @property
    def limit(self) -> float:
        """The greatest loss that the narrow model may have."""
        if self.best is None or self.within is None:
            return float("inf")
        return (1 + self.within) * self.best


def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(path.stem for path in (FOLDER / "recipes").glob("*.yaml"))


def recipe(name: str) -> Recipe:
    """The recipe of that name, or that makes the model of that name.

    Raises:
        InputError: there is none, or its file cannot be read.
    """
    import yaml

    known = recipes()
    stem = str(name).removeprefix("zoo:")
    if stem not in known:
        stem = stem.rpartition("-")[0]
    if stem not in known:
        raise InputError(f"No recipe makes {name!r}. Recipes: {', '.join(known)}.")
    content = (FOLDER / "recipes" / f"{stem}.yaml").read_bytes()
    try:
        return Recipe(
            name=stem, sha256=hashlib.sha256(content).hexdigest(), **yaml.safe_load(content)
        )
    except (TypeError, yaml.YAMLError) as error:
        raise InputError(f"Cannot read the recipe {stem!r}: {error}") from error
