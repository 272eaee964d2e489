"""The variables that an optimizer keeps beside those of a model: momentum, velocity, and whatever
else has one entry a weight."""

from collections.abc import Sequence

__all__ = ["slots"]


def slots(optimizer: object, variables: Sequence) -> list:
    """What an optimizer keeps for each of a model's variables.

    Keras names a slot after its variable (`add_variable_from_reference`), so this holds for its
    optimizers and for those written on its base class; a `LossScaleOptimizer` shows what is inside.

    Args:
        optimizer: a Keras optimizer.
        variables: all trainable variables of its model, in their order: a name can be the beginning
            of another, and a name that several have is told apart by order alone.

    Returns: a dict for each variable, name ("momentum", "velocity", …) → Keras variable of the same
        shape; empty where the optimizer is not built yet, or keeps nothing of that shape
        (Adafactor's means of rows and columns are none).

    Example:
    >>> import keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    >>> model.compile("adam", "mse")
    >>> model.optimizer.build(model.trainable_variables)
    >>> [sorted(slot) for slot in slots(model.optimizer, model.trainable_variables)]
    [['momentum', 'velocity'], ['momentum', 'velocity']]
    """
    owners: dict = {}
    for variable in variables:
        owners.setdefault(variable.path.replace("/", "_"), []).append(variable)
    found: dict = {id(variable): {} for variable in variables}
    times: dict = {}
    for slot in getattr(optimizer, "variables", ()):
        path = slot.path.rpartition("/")[2]
        names = [name for name in owners if path.startswith(f"{name}_")]
        if not names:
            continue
        name = max(names, key=len)
        turn = times[path] = times.get(path, -1) + 1
        owner = owners[name][turn] if turn < len(owners[name]) else None
        if owner is not None and tuple(slot.shape) == tuple(owner.shape):
            found[id(owner)][path[len(name) + 1 :]] = slot
    return [found[id(variable)] for variable in variables]
