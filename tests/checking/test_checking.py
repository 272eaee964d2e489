"""The checker rejects what changes a function, accepts what does not, and believes no hint."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_l2feat.checking import Maps, check
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.models import mlp
from keras_l2feat.pruning import prune
from keras_l2feat.pruning.certificate import load_certificate
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.plan import Account, Plan

ROUNDOFF = 2.0**-24


def filled(model, seed=0):
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
        else:
            width = max(1, np.prod(weight.shape[:-1]))
            weight.assign(random.standard_normal(weight.shape) / np.sqrt(width))
    return model


def multiples(layer, *, factor=2.0, units=((1, 0), (3, 2))):
    """Units that are multiples of others."""
    arrays = [w.copy() for w in layer.get_weights()]
    for array in arrays:
        for p, q in units:
            array[..., p] = factor * array[..., q]
    layer.set_weights(arrays)


def dense():
    model = filled(mlp(5, (8, 7), 3))
    for layer in model.layers[:2]:
        multiples(layer)
    return model


def normalized():
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(5, 3, activation="relu", name="next")(layers.ReLU()(x))
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    multiples(model.get_layer("next"))
    multiples(model.get_layer("conv"), factor=1.0)
    for weight in model.get_layer("norm").weights:
        array = weight.numpy()
        array[[1, 3]] = array[[0, 2]]
        weight.assign(array)
    return model


def branched():
    x = inputs = keras.Input((6,))
    x = layers.Dense(6, activation="relu", name="first")(x)
    y = layers.Dense(6, activation="relu", name="branch")(x)
    z = layers.Concatenate()([layers.Add()([x, y]), layers.Dense(4, "tanh", name="odd")(x)])
    model = filled(keras.Model(inputs, layers.Dense(3)(z)))
    multiples(model.get_layer("first"))
    multiples(model.get_layer("branch"))
    multiples(model.get_layer("odd"), factor=-1.0)
    return model


MODELS = {"dense": dense, "normalized": normalized, "branched": branched}


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    model = MODELS[request.param]()
    pruned, certificate = prune(model)
    assert certificate.verified
    assert sum(map(len, certificate.maps.removed.values())) >= 2
    return read(model), read(pruned), certificate.maps


@pytest.mark.parametrize("exact", [False, True])
def test_what_was_pruned_is_accepted(pair, exact):
    verdict = check(*pair, exact=exact)
    assert verdict.accepted, verdict
    assert verdict.worst.units <= 16


def moved(pruned, random):
    """One entry of a weight moved by 64 roundoffs of its row's norm; and back."""
    weight = pruned.model.weights[random.integers(len(pruned.model.weights))]
    old = weight.numpy()
    new = old.reshape(-1, old.shape[-1]).copy()
    row, column = (random.integers(size) for size in new.shape)
    scale = np.linalg.norm(new[:, column]) if old.ndim > 1 else abs(new[row, column])
    new[row, column] += 64 * ROUNDOFF * scale * random.choice([-1, 1])
    weight.assign(new.reshape(old.shape))
    return weight, old


def mutants(pair, count, seed=0):
    """How many of so many changed weights are accepted."""
    random, accepted = np.random.default_rng(seed), 0
    for _ in range(count):
        weight, old = moved(pair[1], random)
        changed = (weight.numpy() != old).any()
        accepted += bool(changed and check(*pair).accepted)
        weight.assign(old)
    return accepted


def test_a_weight_that_was_moved_is_noticed(pair):
    assert mutants(pair, 40) == 0
    assert check(*pair).accepted


@pytest.mark.slow
def test_none_of_many_weights_that_were_moved_is_overlooked(pair):
    assert mutants(pair, 600, seed=1) == 0


def test_swapped_units_are_noticed(pair):
    graph, pruned, maps = pair
    weight = next(w for w in pruned.model.weights if w.path.endswith("kernel"))
    old = weight.numpy()
    weight.assign(old[..., [1, 0, *range(2, old.shape[-1])]])
    assert not check(graph, pruned, maps).accepted
    weight.assign(old)


def test_hints_are_not_believed(pair):
    graph, pruned, maps = pair
    wrong = {unit: [{unit: 1.0}] for unit in maps.sources}
    swapped = dict(zip(maps.sources, [*maps.sources.values()][::-1]))
    for sources in ({}, wrong, swapped):
        found = check(graph, pruned, Maps(maps.removed, sources, maps.scale))
        assert not found.accepted or sources == maps.sources
    assert not check(graph, pruned, Maps()).accepted


def test_maps_survive_their_file(pair):
    import json

    maps = pair[2]
    again = Maps.from_json(json.loads(json.dumps(maps.to_json())))
    assert again == maps
    for broken in ({}, [], {"format": "x"}, {**maps.to_json(), "more": {}}):
        with pytest.raises(InputError):
            Maps.from_json(broken)


@pytest.mark.parametrize(
    ("entry", "value", "place"),
    [
        ("removed", 3, "removed is expected to be an object"),
        ("removed", {"d": [0, 1.5]}, "removed: d: 1 is expected to be a whole number"),
        ("removed", {"d": [True]}, "removed: d: 0 is expected to be a whole number"),
        ("scale", {"d": [[0, 1.0, 2.0]]}, "scale: d: 0 is expected to be a list of 2 entries"),
        ("scale", {"d": [[0, float("nan")]]}, "scale: d: 0: 1 is expected to be a number"),
        ("scale", {"d": [[0, 10**400]]}, "scale: d: 0: 1 is expected to be a number"),
        ("sources", {"d": [[0, [[1, 2.0, 3]]]]}, "sources: d: 0: 1: 0: 2 is expected to be a str"),
        ("constants", {"d": [[0, "a"]]}, "constants: d: 0: 1 is expected to be a number"),
    ],
)
def test_broken_maps_are_refused_by_the_place_where_they_are(pair, entry, value, place):
    with pytest.raises(InputError, match=place):
        Maps.from_json({**pair[2].to_json(), entry: value})


def merged(activation, factor, between=None, padding="valid"):
    """Two units, the second `factor` times the first, and a model in which it was merged as if the
    activation commuted with that."""

    def build(filters):
        x = inputs = keras.Input((6, 1))
        x = layers.Conv1D(filters, 1, activation=activation, name="units")(x)
        x = x if between is None else between(x)
        return keras.Model(inputs, layers.Conv1D(2, 3, padding=padding, name="end")(x))

    wide = filled(build(3))
    multiples(wide.get_layer("units"), factor=factor, units=((1, 0),))
    small = build(2)
    kernel, bias = wide.get_layer("units").get_weights()
    small.get_layer("units").set_weights([kernel[..., [0, 2]], bias[[0, 2]]])
    kernel, bias = wide.get_layer("end").get_weights()
    kernel[:, 0] += factor * kernel[:, 1]
    small.get_layer("end").set_weights([kernel[:, [0, 2]], bias])
    for part in (wide, small):
        part.name = "model"
    maps = Maps({"units": [1]}, {("units", 1): [{("units", 0): factor}]})
    return read(wide), read(small), maps


@pytest.mark.parametrize(
    ("activation", "factor", "holds"),
    [
        ("relu", 2, True),
        ("relu", -2, False),
        ("tanh", -1, True),
        ("tanh", 2, False),
        ("gelu", 1, True),
        ("gelu", -1, False),
        (None, -3, True),
    ],
)
def test_a_factor_has_to_commute(activation, factor, holds):
    assert check(*merged(activation, factor)).accepted is holds


def test_no_negative_factor_passes_a_maximum():
    pool = layers.MaxPooling1D(2)
    assert check(*merged(None, 2.0, pool)).accepted
    assert not check(*merged(None, -2.0, pool)).accepted
    assert check(*merged(None, -2.0, layers.AveragePooling1D(2))).accepted


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_constant_is_none_at_a_border(padding):
    graph, pruned, _ = merged("relu", 1.0, padding=padding)
    wide, small = graph.model, pruned.model
    kernel, bias = wide.get_layer("units").get_weights()
    kernel[..., 1], bias[1] = 0.0, 0.5
    wide.get_layer("units").set_weights([kernel, bias])
    kernel, bias = wide.get_layer("end").get_weights()
    folded = bias + 0.5 * kernel[:, 1].sum(axis=0)
    small.get_layer("end").set_weights([kernel[:, [0, 2]], folded])
    assert check(read(wide), read(small), Maps({"units": [1]})).accepted is (padding == "valid")
    small.get_layer("end").set_weights([kernel[:, [0, 2]], bias])  # the constant dropped
    assert not check(read(wide), read(small), Maps({"units": [1]})).accepted


def test_settings_are_compared():
    graph, pruned, maps = merged("relu", 2.0)
    other = merged("leaky_relu", 2.0)[1]
    for old, new in zip(pruned.model.weights, other.model.weights):
        new.assign(old)
    assert check(graph, pruned, maps).accepted
    assert not check(graph, other, maps).accepted


def test_a_plan_does_not_decide_its_own_verification():
    model = filled(mlp(4, (16,), 2))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    _, honest = prune(model, "data", x)
    assert len(honest.plans[-1].removed) > 0
    told = Account(tolerance=1e30, bound=1e30, measured={"fitted": {"points": 10**6, "agree": 1.0}})
    for account in (Account(), told):
        for plan in honest.plans:
            plan.account = account
        with pytest.raises(CheckFailed, match="not shown to be equal"):
            prune(model, plans=honest.plans)


def test_what_a_file_tells_of_its_plan_is_not_repeated():
    _, honest = prune(filled(mlp(4, (16,), 2)), "bounded", np.ones((3, 4), "f4"), tolerance=1.0)
    assert honest.account.measured
    for facts in (honest.account.to_json(), {"measured": 7}, 3):
        value = {**honest.plans[-1].to_json(), "facts": facts}
        assert Plan.from_json(value).account == Account()


def test_a_misspelt_option_is_named():
    with pytest.raises(InputError, match=r"'tolerence'.*Did you mean 'tolerance'"):
        prune(mlp(2, (3,), 1), "bounded", np.zeros((2, 2)), tolerence=1.0)
    with pytest.raises(InputError, match="'exact' has no option 'input_range'"):
        prune(mlp(2, (3,), 1), input_range=(0, 1))


@pytest.mark.parametrize("number", ["1e400", str(10**400), "-1e400", "NaN"])
def test_a_certificate_with_impossible_numbers_is_refused_in_a_sentence(number, tmp_path):
    box = '{"level":"domain","input_range":[0,NUMBER]}', '{"level":"exact","input_range":null}'
    for claim, scale in [(box[0], "1"), (box[1], "NUMBER")]:
        maps = '{"format":"keras-l2feat maps 1","removed":{},"sources":{},"scale":{"d":[[0,%s]]}}'
        text = '{"format":"keras-l2feat certificate 1","claim":%s,"maps":%s}'
        text = (text % (claim, maps % scale)).replace("NUMBER", number)
        (tmp_path / "certificate.json").write_text(text)
        model = keras.Sequential([keras.Input((2,)), layers.Dense(2, "relu", name="d")])
        graph = read(model)
        try:
            told, maps = load_certificate(tmp_path / "certificate.json")
            assert not check(graph, graph, maps, input_range=told.input_range).accepted
        except InputError:
            pass


def test_a_box_beyond_float64_proves_nothing():
    graph = read(dense())
    verdict = check(graph, graph, Maps(), input_range=(-1e308, 1e308))
    assert not verdict.accepted
    assert "beyond what float64 holds" in str(verdict)
    assert check(graph, graph, Maps(), input_range=(-1e30, 1e30)).accepted
