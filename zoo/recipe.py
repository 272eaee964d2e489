"""Recipes: how each pair of models is made, as YAML in `recipes/`, one file a pair.

    title: …               what the pair is, one sentence
    family: mnist-1k       models that belong together
    data: mnist-1k         a name that `data.load` knows
    lam: 1.0e-3            λ
    cost: crossentropy     C; default: the data set's own
    beta: 1.0              amount of bias
    activation: relu
    widths: [50, 50]       hidden widths of the wide parent
    dtype: float32         of the saved models; everything is computed in float64
    seed: 0
    steps:                 of zoo/steps.py, in this order, each with its options
      - fit: {max_iterations: 300}
    guarantee: exact       with which the parent is pruned
    certificate: true      whether the insertion certificate is computed
    tolerances:            of `l2feat zoo build --check`: {figure: greatest difference}
      train_loss: 0.001
"""

import dataclasses
import hashlib

from keras_l2feat.errors import InputError
from keras_l2feat.zoo.registry import FOLDER

__all__ = ["ROLES", "Recipe", "recipe", "recipes"]

ROLES = ("wide", "plateau")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One recipe; the fields are those of the YAML file.

    `name` is the file's, the models are called `NAME-wide` and `NAME-plateau`; `sha256` is of the file's bytes.
    """

    name: str
    sha256: str
    title: str
    data: str
    lam: float
    widths: list
    steps: list
    family: str
    cost: str | None = None
    beta: float = 1.0
    activation: str = "relu"
    dtype: str = "float32"
    seed: int = 0
    guarantee: str = "exact"
    certificate: bool = True
    optimum: str | None = None
    tolerances: dict = dataclasses.field(default_factory=dict)

    @property
    def models(self) -> dict:
        """The models' names by role."""
        return {role: f"{self.name}-{role}" for role in ROLES}


def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(path.stem for path in (FOLDER / "recipes").glob("*.yaml"))


def recipe(name) -> Recipe:
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
        return Recipe(name=stem, sha256=hashlib.sha256(content).hexdigest(), **yaml.safe_load(content))
    except (TypeError, yaml.YAMLError) as error:
        raise InputError(f"Cannot read the recipe {stem!r}: {error}") from error
