"""What recipes are made of. A step takes the `Making` so far and its own options, and changes
`making.model`.

The first step creates the model, in float64; training steps follow.
"""

import inspect
from collections.abc import Callable

from keras_l2feat.errors import InputError
from keras_l2feat.zoo.making import Making
from keras_l2feat.zoo.steps import first, training, widths

__all__ = ["STEPS", "take"]

STEPS: dict[str, Callable] = {
    "mlp": first.mlp,
    "conv": first.conv,
    "lenet": first.lenet,
    "fit": training.fit,
    "minibatch": training.minibatch,
    "adamw": training.adamw,
    "shrink": training.shrink,
    "align": training.align,
    "descend": widths.descend,
    "grow": widths.grow,
    "copy": widths.copy,
    "merge": widths.merge,
    "bipartite": first.bipartite,
    "deep_linear": first.deep_linear,
    "from_teacher": first.from_teacher,
    "global_minimum": first.global_minimum,
    "silence": training.silence,
}


def take(making: Making, step: dict) -> None:
    """Do one step, `{name: options}`.

    Raises:
        InputError: no such step, or options it does not have.
    """
    (name, options), *more = step.items()
    if name not in STEPS or more:
        raise InputError(
            f"Recipe {making.recipe.name!r}: no step {step!r}. Steps: {', '.join(STEPS)}."
        )
    options = options or {}
    try:
        _bind(STEPS[name], making, options)
    except TypeError as error:
        raise InputError(f"Recipe {making.recipe.name!r}, step {name!r}: {error}") from error
    STEPS[name](making, **options)


def _bind(step, making, options) -> None:
    """Raise the `TypeError` of a call whose options do not fit, without the call, whose own errors
    are no mistake of the recipe's."""
    signature = inspect.signature(step)
    signature.bind(making, **options)
    if "options" in signature.parameters:  # of the function that the step hands the rest on to
        known = [step, *_handed_on(step)]
        unknown = options.keys() - {n for one in known for n in inspect.signature(one).parameters}
        if unknown:
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}")


def _handed_on(step):
    from keras_l2feat.plateau import descent
    from keras_l2feat.training import fit

    return [descent] if step is widths.descend else [training.fit, fit]
