"""One function a family, as in `keras.applications`: the arguments choose the model, the docstring
has the figures."""

from keras_l2feat.errors import bad_argument
from keras_l2feat.types import Model
from keras_l2feat.zoo.cards import fact, shown
from keras_l2feat.zoo.models import load
from keras_l2feat.zoo.registry import entries

__all__ = ["FAMILIES"]

_COLUMNS = {
    "Model": None,
    "Widths": "widths",
    "Parameters": "parameters",
    "λ": "lam",
    "Training loss": "metrics.train_loss",
    "Test accuracy": "metrics.test_accuracy",
}

_ROLE = """
        role: "plateau", or "wide" for its parent; where none is on the plateau, the narrow one."""
_WEIGHTS = """
        weights: "zoo", or None for the architecture alone."""


def _table(family) -> str:
    """The family's figures as a reStructuredText table, indented for a docstring."""
    lines = [list(_COLUMNS)]
    for one in entries(family):
        values = [one.name if key is None else fact(one.facts, key) for key in _COLUMNS.values()]
        lines.append(["–" if value is None else shown(value) for value in values])
    widths = [max(map(len, column)) for column in zip(*lines)]
    rule = "  ".join("=" * width for width in widths)
    body = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    ]
    return "\n".join(f"    {line}" for line in [rule, body[0], rule, *body[1:], rule])


def _with_table(family, common=_ROLE + _WEIGHTS):
    """Add to a function's docstring what all take, and the table of its family."""

    def decorate(function):
        text = function.__doc__.rstrip()
        arguments = "" if "Args:" in text else "\n\n    Args:"
        function.__doc__ = f"{text}{arguments}{common}\n\n{_table(family)}\n"
        return function

    return decorate


def _pick(family, role, weights, **wanted):
    """The model of a family with that role and those facts; the first recipe of the family decides
    the rest. Where none stands on the plateau, its narrow one is taken."""
    members = entries(family)
    if role not in ("wide", "plateau"):
        raise bad_argument("role", "'wide' or 'plateau'", role)
    for key, value in wanted.items():
        known = list(dict.fromkeys(fact(one.facts, key) for one in members))
        if value not in known:
            raise bad_argument(key, f"one of {', '.join(map(shown, known))}", value)
    found = {
        one.facts["role"]: one
        for one in reversed(members)
        if all(fact(one.facts, key) == value for key, value in wanted.items())
    }
    one = found.get("plateau") or found.get("narrow")
    if one is not None:
        name = one.name if role == "plateau" else one.facts["parent"]
        return load(name, weights=weights)
    raise bad_argument("model", f"one of {', '.join(one.name for one in members)}", wanted)


@_with_table("mnist-1k")
def mnist_1k(*, lam: float = 1e-3, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """Two hidden layers on the first 1000 digits of MNIST [Jacot et al. 2022, Fig. 2 left].

    Args:
        lam: λ.
    """
    return _pick("mnist-1k", role, weights, lam=lam)


@_with_table("mnist-60k")
def mnist_60k(*, lam: float = 1e-4, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """Networks on the full MNIST.

    Args:
        lam: λ.
    """
    return _pick("mnist-60k", role, weights, lam=lam)


@_with_table("mnist-789-42")
def mnist_789_42(*, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """Two hidden layers on 42 digits 7, 8, 9 of MNIST [Jacot et al. 2022, Fig. 1]."""
    return _pick("mnist-789-42", role, weights)


@_with_table("teacher")
def teacher(
    *, width: int = 10, outputs: int = 1, role: str = "plateau", weights: str | None = "zoo"
) -> Model:
    """Students of random ReLU networks [Jacot et al. 2022, Fig. 2 right].

    Args:
        width, outputs: of the teacher: 10 or 5 with one output, 10 with 5.
    """
    data = f"teacher:width={width}" if outputs == 1 else f"teacher:outputs={outputs}"
    if (width, outputs) not in ((10, 1), (5, 1), (10, 5)):
        raise bad_argument("width", "10 or 5, or 10 with outputs=5", (width, outputs))
    return _pick("teacher", role, weights, data=data)


@_with_table("bipartite")
def bipartite(*, n: int = 4, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """Exact optima that need n²/4 neurons [Jacot et al. 2022, Prop. 14].

    Args:
        n: number of data points, 4, 6 or 8.
    """
    return _pick("bipartite", role, weights, data=f"bipartite:n={n}")


@_with_table("one-dim")
def one_dim(*, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """Ten points on a line, at the global minimum over all widths [Jacot et al. 2022, Prop. 15]."""
    return _pick("one-dim", role, weights)


@_with_table("deep-linear")
def deep_linear(*, role: str = "plateau", weights: str | None = "zoo") -> Model:
    """A deep linear network at the Schatten norm of its targets."""
    return _pick("deep-linear", role, weights)


@_with_table("shrunk", _WEIGHTS)
def shrunk(*, network: str = "lenet5", weights: str | None = "zoo") -> Model:
    """Usual networks on the full MNIST that got smaller while they trained on (`shrink`).

    Args:
        network: what it was before: "lenet5", or "lenet300", which is dense (784-300-100).
    """
    known = [one.name.removesuffix("-shrunk") for one in entries("shrunk")]
    if network not in known:
        raise bad_argument("network", f"one of {', '.join(known)}", network)
    return load(f"{network}-shrunk", weights=weights)


FAMILIES = {
    "bipartite": bipartite,
    "deep-linear": deep_linear,
    "mnist-1k": mnist_1k,
    "mnist-60k": mnist_60k,
    "mnist-789-42": mnist_789_42,
    "one-dim": one_dim,
    "shrunk": shrunk,
    "teacher": teacher,
}
