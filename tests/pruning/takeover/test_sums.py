"""Sums over rows are those of all rows at once, however many come."""

import numpy as np
import pytest

from keras_l2feat.pruning.takeover.sums import Sums, best_ridge


def halves(rows, columns=400, outputs=5):
    """Two `Sums` in parts, and all rows and targets at once."""
    random = np.random.default_rng(rows)
    x = np.maximum(random.standard_normal((rows, columns)), 0).astype("float32")
    z = (x @ random.standard_normal((columns, outputs)) + random.standard_normal(outputs)).astype(
        "float32"
    )
    both = [Sums(columns, outputs) for _ in range(2)]
    for start in range(0, rows, 50):
        for half, one in enumerate(both):
            one.add(x[start + half : start + 50 : 2], z[start + half : start + 50 : 2])
    return both, x.astype(float), z.astype(float)


@pytest.mark.parametrize("rows", [150, 500, 2500])  # fewer than columns in all, in halves, never
def test_rows_that_are_kept_and_sums_give_the_same_fits(rows):
    both, x, z = halves(rows)
    assert [one.few for one in both] == [rows / 2 < 400] * 2
    whole = both[0] + both[1]
    assert whole.few == (rows < 400)
    start, kept = np.ones((400, 5)), np.arange(400) % 3 > 0
    ridge = best_ridge(both, start)
    found, less = whole.fit(start, ridge), whole.without(kept, start, 1e-6)
    error = ((x @ found - z) ** 2).sum() / rows
    assert whole.error(found) == pytest.approx(error, rel=1e-6, abs=1e-9)
    assert np.allclose(whole.of([1, 3]).fit(start[:, :2], ridge), found[:, [1, 3]])
    size = np.linalg.norm(x, axis=0)
    for wanted, target, columns, epsilon in ((found, z, ..., ridge), (less, x @ start, kept, 1e-6)):
        seen = (x / size)[:, columns]
        left = seen.T @ (target - seen @ (size[columns, None] * wanted))
        drawn = epsilon * size[columns, None] * (wanted - start[columns])
        assert np.allclose(left, drawn, atol=1e-7 * np.abs(target).max() * rows)
    assert np.allclose(whole.total, x.T @ x)
    assert np.allclose(whole.cross, x.T @ z)
