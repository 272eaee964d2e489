"""`import keras_l2feat` suffices for models with its own classes, in either order of imports, and
imports neither Keras nor TensorFlow; other people's classes load when their module is trusted."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_l2feat import layers, models, regularizers
from keras_l2feat.files import load_model


def run(code, *arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    return done.returncode, done.stdout, done.stderr[-2000:]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model with every class of the package that a model can hold."""
    inputs = keras.Input((4,))
    a = layers.HomogeneousDense(3, beta=0.5, activation=layers.absolute)(inputs)
    z = keras.layers.Dense(2)(a)
    model = keras.Model(inputs, layers.RepresentationCost(1e-3)((a, z)))
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model.save(path)
    return path


LOAD = "m = keras.saving.load_model(sys.argv[1]); print(m.count_params())"


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import sys, keras_l2feat, keras",
        "import sys, keras, keras_l2feat",
        "import sys, keras_l2feat\nassert 'keras' not in sys.modules\nfrom keras import layers\n"
        "import keras",
    ],
)
def test_one_import_suffices_in_either_order(imports, own):
    code, out, err = run(f"{imports}\n{LOAD}", own)
    assert code == 0, err
    assert out.split()[-1] == "23"


def test_a_keras_that_fails_to_import_fails_as_it_would_alone(tmp_path):
    (tmp_path / "keras.py").write_text("__version__ = '2.15.0'\n")
    code, out, err = run(
        "import sys; sys.path.insert(0, '.'); import keras_l2feat, keras; print(keras.__version__)",
        cwd=tmp_path,
    )
    assert (code, out) == (0, "2.15.0\n"), err
    (tmp_path / "keras.py").write_text("raise ImportError('no backend')\n")
    code, out, err = run(
        "import sys; sys.path.insert(0, '.'); import keras_l2feat, keras", cwd=tmp_path
    )
    assert code == 1
    assert "no backend" in err


def test_regularizers_of_the_package_load(tmp_path):
    cost = regularizers.RepresentationPenalty(np.eye(4), lam=0.1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=cost)])
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras").layers[0].kernel_regularizer
    assert isinstance(loaded, regularizers.RepresentationPenalty)
    assert models.RepresentationNetwork.__name__ in str(list(keras.saving.get_custom_objects()))


MODULE = """
import keras
open("imported", "w").close()
@keras.saving.register_keras_serializable("theirs")
class Tripled(keras.layers.Dense):
    pass
"""


@pytest.mark.slow
def test_the_command_line_imports_what_it_is_told_to_trust_and_nothing_else(tmp_path):
    (tmp_path / "their_layers.py").write_text(MODULE)
    make = "import their_layers, keras\nm = keras.Sequential([keras.Input((4,)), "
    make += "keras.layers.Dense(3, activation='relu'), their_layers.Tripled(2)])\nm.save('m.keras')"
    assert run(make, cwd=tmp_path)[0] == 0
    (tmp_path / "imported").unlink()
    command = "from keras_l2feat.cli.main import main; main()"
    code, _, err = run(command, "inspect", "m.keras", cwd=tmp_path)
    assert code == 2
    assert "--import" in err
    assert not (tmp_path / "imported").exists()
    code, _, err = run(command, "--import", "their_layers", "inspect", "m.keras", cwd=tmp_path)
    assert code == 0, err
    assert (tmp_path / "imported").exists()


def test_a_module_that_cannot_be_imported_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    command = "from keras_l2feat.cli.main import main; main()"
    for name in ("broken", "not_there", "..", ""):
        code, _, err = run(command, "--import", name, "zoo", "list", cwd=tmp_path)
        assert code == 2
        assert err.startswith(f"Error: Option '--import': {name!r} cannot be imported")
        assert err.count("\n") == 1
