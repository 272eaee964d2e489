"""Loss against width: running minimum, where the plateau starts, and how sure that is.

Loss never increases with width, as dead neurons can be padded [Jacot et al. 2022, Prop. 6], so the
least loss found at some width bounds the loss at every greater one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from keras_l2feat.errors import require
from keras_l2feat.files import atomic_path
from keras_l2feat.plateau.trial import Trial

__all__ = ["EPSILONS", "Start", "curve", "plateau_starts", "running_minimum", "table", "write_csv"]

EPSILONS = (0.05, 0.01, 0.001)
BOOTSTRAP = 1000  # resamples of the trials


@dataclass(frozen=True)
class Start:
    """Where the plateau starts at tolerance ε: the least width with loss ≤ (1 + ε) · least.

    Attributes:
        epsilon: ε.
        width: the least such width among those tried.
        low, high: 5 % and 95 % bootstrap quantiles over trials; equal to `width` where every width
            has one trial.
        reached: whether a greater width was tried. If not, the loss may fall further, and nothing
            is known of a plateau.
    """

    epsilon: float
    width: int
    low: int
    high: int
    reached: bool = True

    def as_dict(self) -> dict:
        return asdict(self)


def table(trials: Iterable[Trial]) -> pd.DataFrame:
    """The trials as the rows of `curve.csv`, sorted by method, λ, width and seed."""
    frame = pd.DataFrame([trial.row() for trial in trials])
    layers = [column for column in frame if column.startswith("width_")]
    return frame.sort_values(
        ["method", "lam", "width", *layers, "seed"], kind="stable", ignore_index=True
    )


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table to `path`, whole or not at all; the same table gives the same bytes."""
    with atomic_path(Path(path)) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.10g")


def running_minimum(widths: ArrayLike, losses: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The least loss up to each width.

    Args: widths, losses: `(k,)`, several losses a width allowed.

    Returns: the distinct widths, ascending, and the running minimum of the least loss at each,
        `(m,)` arrays.
    """
    least = pd.Series(np.asarray(losses, float)).groupby(np.asarray(widths)).min().cummin()
    return least.index.to_numpy(), least.to_numpy()


def plateau_starts(
    widths: ArrayLike,
    losses: ArrayLike,
    *,
    epsilons: Sequence[float] = EPSILONS,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> list:
    """Where the plateau starts at each ε, with a bootstrap over the trials of each width.

    Args:
        widths, losses: `(k,)`, one entry for each trial.
        epsilons: tolerances, relative to the least loss.
        bootstrap: number of resamples; each draws, at every width, as many trials as there are,
            with replacement.
        seed: of the resamples.

    Returns: a list of `Start`s, one for each ε.

    Raises:
        InputError: no trials.
    """
    widths, losses = np.asarray(widths), np.asarray(losses, dtype=float)
    require(len(widths), "widths", "at least one trial", widths)
    by_width = [losses[widths == width] for width in np.unique(widths)]
    if all(len(group) == 1 for group in by_width):
        bootstrap = 0
    generator = np.random.default_rng(seed)
    draws = [_start(widths, losses, epsilons)]
    for _ in range(bootstrap):
        least = [generator.choice(group, len(group)).min() for group in by_width]
        draws.append(_start(np.unique(widths), least, epsilons))
    low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="nearest")
    return [
        Start(epsilon, int(width), int(least), int(most), bool(width < widths.max()))
        for epsilon, width, least, most in zip(epsilons, draws[0], low, high)
    ]


def _start(widths, losses, epsilons):
    distinct, least = running_minimum(widths, losses)
    return [distinct[np.argmax(least <= (1 + epsilon) * least[-1])] for epsilon in epsilons]


def curve(frame: pd.DataFrame) -> pd.DataFrame:
    """The running minimum of each method and λ of a `table`: columns method, lam, width, loss,
    test_loss.

    The test loss is that of the network with the least training loss so far.
    """
    rows = []
    for (method, lam), group in frame.groupby(["method", "lam"]):
        best = None
        for width, trials in group.groupby("width"):
            winner = trials.loc[trials["loss"].idxmin()]
            if best is None or winner["loss"] < best["loss"]:
                best = winner
            rows.append((method, lam, width, best["loss"], best["test_loss"]))
    return pd.DataFrame(rows, columns=["method", "lam", "width", "loss", "test_loss"])
