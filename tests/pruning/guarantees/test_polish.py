"""Polishing: the target is held, the network shrinks, and what does not fit is named."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat import data, models, training  # noqa: E402
from keras_l2feat.errors import InputError  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.certificate import Certificate, Claim, Evaluation  # noqa: E402
from keras_l2feat.pruning.guarantees.polish import kept, percentage  # noqa: E402
from keras_l2feat.pruning.table import table  # noqa: E402
from keras_l2feat.report.page import pruning_page  # noqa: E402


@pytest.fixture(scope="module")
def trained():
    """Few digits, strong L2: a handful of rays are enough."""
    points = data.load("mnist-789-42")
    model = models.mlp(784, (10, 8), 3, lam=1e-2)
    training.fit(model, points, iterations=150, quiet=True)
    return model, points


def loss_of(model, points):
    return training.fit(model, points, iterations=1, quiet=True).history["loss"][0]


@pytest.mark.slow
def test_the_loss_stays_and_the_network_shrinks(trained):
    model, points = trained
    before = [w.copy() for w in model.get_weights()]
    pruned, certificate = prune(model, "bounded", points, polish=True, keep_loss="1%")
    records = certificate.to_json()["facts"]["polish"]
    assert records[0]["kept"]
    assert records[0]["units"] == {"hidden_1": 10, "hidden_2": 8, "output": 3}
    kept = [record for record in records if record["kept"]]
    assert all(record["loss"] <= 1.01 * records[0]["loss"] for record in kept)
    assert not all(record["kept"] for record in records)  # it went on until the target was missed
    assert [layer["units_after"] for layer in certificate.layers] == list(
        kept[-1]["units"].values()
    )
    assert sum(kept[-1]["units"].values()) <= 12
    assert loss_of(pruned, points) == pytest.approx(kept[-1]["loss"], rel=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


@pytest.mark.slow
def test_the_accuracy_is_kept(trained):
    model, points = trained
    _, certificate = prune(model, "bounded", points, polish=True, keep_accuracy=True)
    records = certificate.facts["polish"]
    kept = [record for record in records if record["kept"]]
    key = "accuracy" if records[0]["test_accuracy"] is None else "test_accuracy"
    assert all(record[key] >= records[0][key] for record in kept)
    assert any(layer["units_after"] < layer["units_before"] for layer in certificate.layers)


@pytest.mark.slow
def test_a_network_that_ends_in_softmax_keeps_its_loss_and_its_accuracy(trained):
    """Probabilities were taken for logits: the network shrank until it was wrong on a third."""
    points = trained[1]
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    scaled = keras.layers.Rescaling(1.0)  # with it the model is no chain of dense layers
    model = keras.Sequential(
        [keras.Input((784,)), scaled, dense(20, "relu", name="hidden"), dense(3, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    training.fit(model, points, lam=1e-2, iterations=100, quiet=True)
    before = model.evaluate(points.x_train, points.y_train, batch_size=1000, verbose=0)
    pruned, certificate = prune(model, "bounded", points, polish=True, keep_loss="5%")
    records = certificate.facts["polish"]
    assert records[0]["loss"] == pytest.approx(before, rel=1e-4)
    after = pruned.evaluate(points.x_train, points.y_train, batch_size=1000, verbose=0)
    assert after <= 1.05 * before * (1 + 1e-4)
    assert records[-1]["accuracy"] >= records[0]["accuracy"] - 0.1
    assert pruned.count_params() < model.count_params()


@pytest.mark.parametrize("fell", [False, True])
def test_a_polished_certificate_says_what_was_kept_and_claims_no_bound(fell):
    points = data.load("mnist-789-42")
    records = [
        {"units": {"a": units}, "loss": loss, "accuracy": 1.0, "test_accuracy": share, "kept": True}
        for units, loss, share in ((9, 0.1, 0.8), (4, 0.101, 0.7 if fell else 0.9))
    ]
    records.append({**records[0], "loss": 9.0, "kept": False})
    facts = {"polish": records, "kept": kept(records, points, "5%", False)}
    assert facts["kept"]["loss"] == [0.1, 0.101]
    comparison = Evaluation(
        "data mnist-789-42", 324, "data", 1.0, 0.1, np.inf, "trained on", changed=7
    )
    layers = [{"name": "a", "units_before": 9, "units_after": 4, "removed": {"near-aligned": 5}}]
    claim = Claim("bounded", trained=True)
    certificate = Certificate("bounded", layers, [], {}, [comparison], claim, facts=facts)
    assert certificate.verified is False
    text = table(certificate)
    assert not {"verified", "inf", "ok"} & set(text.replace(".", " ").split())
    assert "loss 0.1 → 0.101 on the 42 training points of mnist-789-42" in text
    assert f"accuracy 80.00% → {70 if fell else 90}.00% on 282 test points" in text
    model = models.mlp(4, (3,), 2)
    page = pruning_page(certificate.to_json(), model, model)
    badge = 'class="badge fell">accuracy fell' if fell else 'class="badge kept">loss kept'
    assert badge in page


def test_percentages():
    assert [percentage(text) for text in ("0.1%", "5%", 0.001, "0.25")] == [
        0.001,
        0.05,
        0.001,
        0.25,
    ]
    for bad in ("much", "-1%", None, "nan"):
        with pytest.raises(InputError, match="'keep_loss' must be a part"):
            percentage(bad)


def test_what_it_needs_is_asked_for():
    model = models.mlp(4, (3,), 2, lam=1e-2)
    with pytest.raises(InputError, match="data set with labels"):
        prune(model, "bounded", np.zeros((3, 4)), polish=True)
    regression = data.Dataset("r", np.zeros((3, 4), "float32"), np.zeros((3, 2), "float32"))
    with pytest.raises(InputError, match="'keep_accuracy' needs classes"):
        prune(model, "bounded", regression, polish=True, keep_accuracy=True)
