"""Recipes, what they make and what is shipped belong together."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_l2feat import files, zoo
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.pruning.certificate import load_certificate
from keras_l2feat.zoo import best, build, recipe, registry
from keras_l2feat.zoo.making import Making
from keras_l2feat.zoo.steps import take
from keras_l2feat.zoo.verify import verify

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", recipe.recipes())
def test_shipped_models_were_built_from_the_recipe_as_it_is(name):
    chosen = recipe.recipe(name)
    for role, model in chosen.models.items():
        one = zoo.entry(model)
        assert one.facts["recipe_sha256"] == chosen.sha256, f"l2feat zoo build {name} --ship"
        assert (one.facts["role"], one.family) == (role, chosen.family)
    *wide, last = chosen.models.values()
    facts = zoo.entry(last).facts
    assert [facts["parent"]] == wide if chosen.pair else not wide
    assert facts["metrics"]["train_loss"] <= chosen.limit
    if chosen.gap is not None:
        assert max(facts["certificate"]["gaps"]) <= chosen.gap


def test_every_shipped_model_has_a_recipe():
    made = {model for name in recipe.recipes() for model in recipe.recipe(name).models.values()}
    assert made == {one.name for one in registry.read(registry.FOLDER / "registry.json")}


def test_the_plateau_is_never_wider_nor_worse_than_its_parent():
    for name in (name for name in recipe.recipes() if recipe.recipe(name).pair):
        wide, plateau = (zoo.entry(model).facts for model in recipe.recipe(name).models.values())
        assert all(a >= b for a, b in zip(wide["widths"], plateau["widths"])), name
        assert wide["parameters"] > plateau["parameters"], name
        assert plateau["metrics"]["train_loss"] <= wide["metrics"]["train_loss"] * (1 + 1e-3), name
        assert plateau["equivalence"]["max_abs_deviation"] <= plateau["equivalence"]["bound"], name


# for steps that train
SHORT = {"max_iterations": 2}
SHORT_DESCENT = {"start": 4, "least": 3, "widths": [4, 3], "iterations": 2}


@pytest.mark.parametrize("name", recipe.recipes())
def test_every_step_is_one_and_the_first_runs(name, monkeypatch):
    from keras_l2feat import data
    from keras_l2feat.zoo.steps import STEPS, _bind

    chosen = recipe.recipe(name)
    known = chosen.data if not chosen.data.startswith("mnist") else "mnist-789-42"
    making = Making(chosen, data.load(known))
    for step in chosen.steps:
        ((kind, options),) = step.items()
        _bind(STEPS[kind], making, options or {})
    ((kind, options),) = chosen.steps[0].items()
    short = SHORT_DESCENT if kind == "descend" else SHORT
    options = options | {"iterations": 2} if kind == "descend" else options
    take(making, {kind: options | {k: v for k, v in short.items() if k in options}})
    assert making.model.count_params() > 0


def test_a_steps_own_mistake_is_not_the_recipes(monkeypatch):
    from keras_l2feat import data
    from keras_l2feat.zoo import steps

    def broken(making, *, copies):
        return None + copies

    monkeypatch.setitem(steps.STEPS, "bipartite", broken)
    making = Making(recipe.recipe("bipartite-4"), data.load("bipartite:n=4"))
    with pytest.raises(TypeError, match="unsupported operand"):
        take(making, {"bipartite": {"copies": 3}})


# CPU seconds, as the cards say: what is built in the quick tests, in the slow ones, and with
# L2FEAT_RECIPES=1 (`make recipes`)
QUICK, SLOW, ALL = 1.0, 30.0, 120.0
LIMIT = ALL if os.environ.get("L2FEAT_RECIPES") else SLOW


def affordable():
    """The recipes whose models say that they take no more than the limit."""
    for name in recipe.recipes():
        *_, last = recipe.recipe(name).models.values()
        seconds = zoo.entry(last).facts.get("seconds", float("inf"))
        if seconds <= LIMIT:
            yield pytest.param(name, marks=[pytest.mark.slow] if seconds > QUICK else [])


@pytest.mark.parametrize("name", list(affordable()))
def test_a_recipe_is_followed_again_and_matches_its_card(name, tmp_path):
    from keras_l2feat import data

    try:
        data.load(recipe.recipe(name).data)
    except InputError as error:
        pytest.skip(str(error))  # the full MNIST is not here
    built = build.build(name, tmp_path, quiet=True)
    assert build.check(built) == []
    assert {path.suffix for path in tmp_path.iterdir()} == {".keras", ".md", ".json"}
    assert [one.name for one in built] == list(recipe.recipe(name).models.values())


def test_a_build_that_was_interrupted_goes_on_after_the_last_step(tmp_path, monkeypatch):
    """What comes of it is what an uninterrupted one makes, to the last bit."""
    steps = [
        {"mlp": {"widths": [4, 3], "dtype": "float32"}},
        {"minibatch": {"epochs": 2, "batch_size": 10}},
        {"fit": {"max_iterations": 20}},
        {"copy": {"widths": [6, 5]}},
    ]
    chosen = dataclasses.replace(
        recipe.recipe("mnist-789-42"), steps=steps, within=None, gap=None, certificate=False
    )
    monkeypatch.setattr(build, "recipe", lambda name: chosen)
    for folder in ("whole", "pieces"):
        (tmp_path / folder).mkdir()
    whole = build.build("any", tmp_path / "whole", quiet=True)
    taken, stop = [], 3

    def watched(making, step):
        if len(taken) == stop:
            raise KeyboardInterrupt
        taken.append(next(iter(step)))
        take(making, step)

    monkeypatch.setattr(build, "take", watched)
    with pytest.raises(KeyboardInterrupt):
        build.build("any", tmp_path / "pieces", quiet=True)
    assert not list((tmp_path / "pieces").glob("*.keras"))
    stop = 10
    pieces = build.build("any", tmp_path / "pieces", quiet=True)
    assert taken == ["mlp", "minibatch", "fit", "copy"]
    assert [one.facts["probe"] for one in pieces] == [one.facts["probe"] for one in whole]
    assert [one.facts["plateau"] for one in pieces] == [one.facts["plateau"] for one in whole]
    assert not list((tmp_path / "pieces").glob("*.steps"))


def test_what_misses_its_limits_is_not_built(tmp_path, monkeypatch):
    chosen = dataclasses.replace(recipe.recipe("one-dim"), gap=1e-9)
    monkeypatch.setattr(build, "recipe", lambda name: chosen)
    with pytest.raises(CheckFailed, match=r"the gap is .* Expected: at most 1e-09"):
        build.build("one-dim", tmp_path, quiet=True)
    assert not list(tmp_path.glob("*.keras"))


def test_the_least_loss_is_lowered_and_all_are_compared_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    files.write_json(tmp_path / "best.json", {"d": {"0.1": 2.0}})
    losses = {"first": ("d", 0.1, 1.5), "second": ("d", 0.1, 3.0), "other": ("e", 0.1, 1.0)}
    found = {
        name: {"data": data, "lam": lam, "metrics": {"train_loss": loss}}
        for name, (data, lam, loss) in losses.items()
    }
    best.lower(list(found.values()))
    assert best.least("d", 0.1) == 1.5
    assert best.least("e", 0.1) is None
    assert [found[name]["plateau"]["above"] for name in ("first", "second")] == [0.0, 1.0]
    assert "plateau" not in found["other"]


def test_what_differs_from_the_shipped_figures_is_told(tmp_path):
    built = build.build("bipartite-4", tmp_path, quiet=True)
    built[0].facts["metrics"]["train_loss"] += 1e-3
    built[1].facts["recipe_sha256"] = "0" * 64
    differences = build.check(built)
    assert len(differences) == 2
    assert "bipartite-4-wide: train_loss is 0.0169" in differences[0]
    assert "recipe has changed" in differences[1]


def test_shipping_writes_weights_card_and_row_and_nothing_that_changed(tmp_path, monkeypatch):
    (tmp_path / "built").mkdir()
    built = build.build("bipartite-4", tmp_path / "built", quiet=True)
    package = tmp_path / "package"
    for folder in ("weights", "cards", "certificates"):
        (package / folder).mkdir(parents=True)
    for table in ("registry.json", "best.json"):
        shutil.copy(registry.FOLDER / table, package)
    monkeypatch.setattr(registry, "FOLDER", package)
    build.ship(built, tmp_path / "built")
    rows = {one.name: one for one in registry.read(package / "registry.json")}
    assert rows["bipartite-4-wide"].shipped
    assert rows["bipartite-4-wide"].sha256 == built[0].sha256
    assert (package / "weights" / "bipartite-4-plateau.keras").stat().st_size == built[1].size
    assert load_certificate(package / "certificates" / "bipartite-4-plateau.json")[0].proved
    (tmp_path / "built" / built[0].file).write_bytes(b"other")
    with pytest.raises(CheckFailed, match="has changed since it was built"):
        build.ship(built, tmp_path / "built")


@pytest.mark.parametrize(
    "step",
    [
        {"fly": {}},
        {"mlp": {"width": 3}},
        {"fit": {"speed": 3}},
        {"mlp": {"widths": [3]}, "fit": {}},
    ],
)
def test_a_step_that_cannot_be(step):
    from keras_l2feat import data

    making = Making(recipe.recipe("mnist-1k-1pct"), data.load("mnist-789-42"))
    with pytest.raises(InputError, match="Recipe 'mnist-1k-1pct'"):
        take(making, step)


def test_unknown_recipes_name_the_known_ones():
    with pytest.raises(InputError, match=r"Recipes: .*mnist-1k"):
        recipe.recipe("nothing")
    assert recipe.recipe("mnist-1k-1pct-wide") == recipe.recipe("mnist-1k-1pct")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bipartite-6-plateau", "deep-linear-plateau", "mnist-789-42-plateau"]
)
def test_verifying_a_shipped_model(name):
    checks = verify(name)
    assert {"sha256", "parameters", "train_loss"} <= {check.what for check in checks}
    assert any("deviation from" in check.what for check in checks)
    assert [check for check in checks if check.passed is not True] == []


def test_verifying_finds_a_card_that_lies(monkeypatch):
    one = zoo.entry("bipartite-4-plateau")
    facts = one.facts | {"metrics": one.facts["metrics"] | {"train_loss": 0.015}, "parameters": 33}
    lying = zoo.Entry(**one.as_row() | {"facts": facts})
    monkeypatch.setattr(
        "keras_l2feat.zoo.verify.entry", lambda name: lying if name == one.name else zoo.entry(name)
    )
    failed = [check.what for check in verify(one.name) if check.passed is False]
    assert failed == ["parameters", "train_loss"]


@pytest.mark.slow
def test_registry_disk_and_what_is_packed_agree(tmp_path):
    source, packed = tmp_path / "source", tmp_path / "packed"
    source.mkdir()
    for name in ["keras_l2feat", "zoo", "cli"]:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["setup.cfg", "pyproject.toml", "README.md", "LICENSE"]:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    # The step of building a wheel that gathers its files; `make wheel-check` builds and installs
    # the wheel itself.
    arguments = ["-q", "build_py", "--build-lib", str(packed)]
    gather = f"import setuptools; setuptools.setup(script_args={arguments!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", gather], cwd=source, check=True)
    inside = {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()}
    inside = {
        name.removeprefix("keras_l2feat/zoo/")
        for name in inside
        if name.startswith("keras_l2feat/zoo/")
    }
    expected = {
        str(path.relative_to(ROOT / "zoo"))
        for path in (ROOT / "zoo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == expected
    assert {f"weights/{one.file}" for one in zoo.entries() if one.shipped} <= inside
    assert (
        Path(shutil.make_archive(str(tmp_path / "wheel"), "zip", packed)).stat().st_size < 5_000_000
    )
