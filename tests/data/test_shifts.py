"""Moved images: all digits once an epoch, each by at most a pixel, in every direction."""

import numpy as np
import pytest

from keras_l2feat.data.shifts import moving, shifted

SIZE, COUNT = 6, 50


def dots():
    """One bright pixel each, off the edge, whose value names the image."""
    x = np.zeros((COUNT, SIZE, SIZE, 1), "float32")
    place = np.random.default_rng(1).integers(1, SIZE - 1, (COUNT, 2))
    x[np.arange(COUNT), place[:, 0], place[:, 1], 0] = 1 + np.arange(COUNT)
    return x, np.arange(COUNT), place


@pytest.mark.parametrize("make", [shifted, moving])
def test_every_image_comes_once_and_moves_by_at_most_a_pixel(make):
    x, y, place = dots()
    passes = make(x, y, 3, batch=45)
    moves = []
    for _ in range(2 if make is moving else 1):
        batches = [(a.numpy(), b.numpy()) for a, b in passes]
        images = np.concatenate([a for a, _ in batches])
        labels = np.concatenate([b for _, b in batches])
        assert [len(a) for a, _ in batches] == [45, 5]
        assert sorted(labels) == list(range(COUNT))
        where = np.stack(np.unravel_index(images.reshape(COUNT, -1).argmax(1), (SIZE, SIZE)), 1)
        np.testing.assert_array_equal(images.max(axis=(1, 2, 3)), 1 + labels)
        moves.append((where - place[labels])[np.argsort(labels)])
    assert all(np.abs(move).max() == 1 for move in moves)
    assert len(np.unique(moves[0], axis=0)) == 9
    if make is moving:
        assert (moves[0] != moves[1]).any()


def test_the_seed_decides():
    x, y, _ = dots()
    first, again, other = (next(iter(shifted(x, y, seed))) for seed in (0, 0, [0, 1]))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[1].numpy() != other[1].numpy()).any()
