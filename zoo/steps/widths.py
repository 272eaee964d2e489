"""Steps that look for a width."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_l2feat.network import DenseNetwork
from keras_l2feat.zoo.making import ALIGNED, Making

__all__ = ["copy", "descend", "grow", "merge"]


def descend(
    making: Making,
    *,
    start: int | None = None,
    least: int | None = None,
    widths: Sequence[int | Sequence[int]] | None = None,
    within: float | None = None,
    iterations: int | None = None,
    **options: Any,
) -> None:
    """The narrowest network, by the sum of its widths, whose loss the recipe allows, of those that
    `plateau.descent` finds from a wide one, that of the steps before if there are any: layer by
    layer from `start` down to `least`, or at each of `widths`; with options of it. `within` is by
    which part of the least loss known it may be above it, where more steps follow that lower
    it."""
    from keras_l2feat.plateau import descent
    from keras_l2feat.plateau.trial import POLISH

    budget = POLISH if iterations is None else dataclasses.replace(POLISH, iterations=iterations)
    options = {"seed": making.recipe.seed, "quiet": making.quiet, "budget": budget, **options}
    if making.model is not None:
        options["network"] = DenseNetwork.from_model(making.model)
        start = start or least
    given: Any = (least, start) if widths is None else widths
    trials = descent(making.problem, given, per_layer=widths is None, **options)
    making.curve += [(list(trial.widths), trial.loss) for trial in trials]
    limit = dataclasses.replace(making.recipe, within=within or making.recipe.within).limit
    fine = [trial for trial in trials if trial.loss <= limit] or trials[:1]
    making.in_float64(min(fine, key=lambda trial: sum(trial.widths)).network)


def grow(making: Making, *, gap: float, width_limit: int, iterations: int = 1500) -> None:
    """Neurons that the insertion certificate names are added and trained, until its gap is closed
    up to `gap`, by `plateau.growth`."""
    from keras_l2feat.plateau import growth
    from keras_l2feat.training import Budget

    network = DenseNetwork.from_model(making.model)
    trials = growth(
        making.problem,
        network=network,
        width_limit=width_limit,
        gap=gap,
        budget=Budget(iterations, 1e-8),
        seed=making.recipe.seed,
        quiet=making.quiet,
    )
    making.curve += [(list(trial.widths), trial.loss) for trial in trials]
    making.in_float64(trials[-1].network)


def copy(making: Making, *, widths: Sequence[int]) -> None:
    """Neurons come back to these widths as copies of those that stayed, on their rays and at the
    same norm; the steps that follow train all of them."""
    from keras_l2feat.pruning.expand import expand

    making.model = expand(making.model, tuple(widths), seed=making.recipe.seed)


def merge(making: Making) -> None:
    """Neurons that training holds on one ray become one again: what `copy` did is undone, and what
    training did to the copies stays."""
    from keras_l2feat.pruning import prune
    from keras_l2feat.training.rays import snap

    snap(making.model, ALIGNED, 0.0)
    making.model, _ = prune(making.model)
