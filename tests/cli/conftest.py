import pytest


@pytest.fixture
def l2feat(capsys):
    """The command line in this process: `l2feat(*arguments)` gives the exit code, stdout and
    stderr."""
    from keras_l2feat.cli.main import main

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def small_model():
    """A dense network of 5 inputs, 5 hidden units, two of them on one ray, and 3 outputs."""
    import numpy as np

    from keras_l2feat.network import DenseNetwork

    first, last = DenseNetwork.random((5, 4, 3), seed=0).weights
    first, last = np.hstack([first, 2 * first[:, :1]]), np.vstack([last[:-1], last[:1], last[-1:]])
    return DenseNetwork((first, last)).to_model(lam=1e-3)
