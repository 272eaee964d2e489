"""The picture of rays: written for what was pruned and for what was not, in any format matplotlib
knows."""

import numpy as np
import pytest

from keras_l2feat import data, prune
from keras_l2feat.network import DenseNetwork
from keras_l2feat.plots.rays import _nearest, rays_before_after


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize("redundant", [True, False])
def test_picture_is_written(tmp_path, suffix, redundant):
    first, last = DenseNetwork.random((784, 4, 3), seed=0).weights
    if redundant:
        first, last = (
            np.hstack([first, 2 * first[:, :1]]),
            np.vstack([last[:-1], last[:1], last[-1:]]),
        )
    model = DenseNetwork((first, last)).to_model()
    pruned, _ = prune(model)
    for digits in (None, data.load("mnist-789-42")):
        rays_before_after(model, pruned, tmp_path / f"rays.{suffix}", data=digits)
        assert (tmp_path / f"rays.{suffix}").stat().st_size > 5000
    assert len(list(tmp_path.iterdir())) == 1


def test_neurons_find_their_ray():
    after = np.array([[1.0, 0.0], [0.0, 2.0]])
    nearest, cosine = _nearest(np.array([[3.0, 0.0], [0.0, 0.1], [-1.0, 0.0], [0.0, 0.0]]), after)
    assert nearest[:2].tolist() == [0, 1]
    np.testing.assert_allclose(cosine, [1, 1, 0, 0])
