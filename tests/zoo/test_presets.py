"""Presets: written from the zoo, loaded from a folder and from a hub, with the checks of any
file."""

import functools
import http.server
import json
import shutil
import threading

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_l2feat import files, zoo
from keras_l2feat.cli.zoo import command
from keras_l2feat.errors import CheckFailed, InputError
from keras_l2feat.zoo.presets import write_preset
from keras_l2feat.zoo.transfer import Limits

pytest.importorskip("huggingface_hub")

NAME, COMMIT = "bipartite-4-plateau", "0123456789abcdef0123456789abcdef01234567"
PARTS = ["README.md", "config.json", "metadata.json", "model.weights.h5"]
X = np.random.default_rng(0).uniform(size=(7, 4)).astype("float32")


@pytest.fixture
def preset(tmp_path):
    write_preset(zoo.entry(NAME), tmp_path / "preset")
    return tmp_path / "preset"


def expected():
    return zoo.load(NAME)(X)


def test_a_preset_is_what_keras_alone_can_read(preset):
    assert sorted(path.name for path in preset.iterdir()) == PARTS
    config = json.loads((preset / "config.json").read_text())
    assert config["registered_name"] == config["class_name"] == "Sequential"
    assert "compile_config" not in (preset / "config.json").read_text()
    model = keras.saving.deserialize_keras_object(config)
    model.load_weights(preset / "model.weights.h5")
    np.testing.assert_array_equal(model(X), expected())
    metadata = json.loads((preset / "metadata.json").read_text())
    assert metadata["parameter_count"] == model.count_params()
    assert metadata["keras_l2feat_zoo"]["sha256"] == zoo.entry(NAME).sha256
    assert (preset / "README.md").read_text().startswith("---\nlibrary_name: keras\n---\n")


def test_from_a_folder(preset):
    np.testing.assert_array_equal(zoo.load(str(preset))(X), expected())
    np.testing.assert_array_equal(files.load_model(preset)(X), expected())
    fresh = zoo.load(str(preset), weights=None)
    assert fresh.count_params() == zoo.load(NAME).count_params()
    assert np.abs(fresh(X) - expected()).max() > 0


def test_a_folder_passes_the_checks_of_a_file(preset, tmp_path):
    config = json.loads((preset / "config.json").read_text())
    config["config"]["layers"][1]["module"] = "os"
    (preset / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="Cannot load"):
        zoo.load(str(preset))
    (preset / "model.weights.h5").unlink()
    with pytest.raises(InputError, match="no such file"):
        zoo.load(str(preset))
    with pytest.raises(InputError, match=r"folder with config\.json and model\.weights\.h5"):
        zoo.load(str(tmp_path))


class Hub(http.server.SimpleHTTPRequestHandler):
    """`/OWNER/REPO/resolve/REVISION/FILE`, from the folder of the server."""

    def log_message(self, *arguments):
        pass

    def translate_path(self, path):
        self.server.asked.append((self.command, path))
        _, owner, repository, _, revision, name = path.split("/")
        assert (owner, repository) == ("me", "mine")
        assert revision in ("main", "v1", COMMIT)
        return super().translate_path(f"/{name}")

    def end_headers(self):
        for header in self.server.headers(self.path):
            self.send_header(*header)
        super().end_headers()


@pytest.fixture
def hub(preset, tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Hub, directory=preset)
    )
    server.asked, server.folder = [], preset
    server.headers = lambda path: [("X-Repo-Commit", COMMIT)]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(Limits, "pause", 0.01)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KERAS_L2FEAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_L2FEAT_OFFLINE", raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["hf://me/mine", "hf://me/mine@v1"])
def test_from_a_hub(name, hub, tmp_path):
    np.testing.assert_array_equal(zoo.load(name)(X), expected())
    assert kept(tmp_path) == PARTS[1:]
    assert (tmp_path / "cache" / "hub" / "me--mine" / COMMIT).is_dir()


def test_a_commit_is_fetched_once_and_then_without_a_network(hub, monkeypatch):
    name = f"hf://me/mine@{COMMIT}"
    zoo.load(name)
    asked = len(hub.asked)
    monkeypatch.setenv("KERAS_L2FEAT_OFFLINE", "1")
    np.testing.assert_array_equal(zoo.load(name)(X), expected())
    assert len(hub.asked) == asked == 6
    for other in ("hf://me/mine", "hf://me/mine@v1"):
        with pytest.raises(InputError, match="OFFLINE is set"):
            zoo.load(other)


def test_what_is_no_commit_is_asked_for_again(hub):
    hub.headers = lambda path: []
    zoo.load("hf://me/mine")
    shutil.rmtree(hub.folder)
    write_preset(zoo.entry("bipartite-6-plateau"), hub.folder)
    assert zoo.load("hf://me/mine").input_shape == (None, 6)


def test_a_repository_that_changes_meanwhile(hub, tmp_path):
    hub.headers = lambda path: [("X-Repo-Commit", ("a" if "config" in path else "b") * 40)]
    with pytest.raises(CheckFailed, match="changed while it was fetched"):
        zoo.load("hf://me/mine")
    assert kept(tmp_path) == []


def test_too_large_or_missing(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_l2feat.zoo.presets.MAX_MODEL_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 bytes"):
        zoo.load("hf://me/mine")
    (hub.folder / "config.json").unlink()
    with pytest.raises(InputError, match="answered 404"):
        zoo.load("hf://me/mine")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("name", ["hf://", "hf://me", "hf://me/../x", "hf://me/a/b", "hf://me/a@"])
def test_addresses_that_cannot_be(name):
    with pytest.raises(InputError, match="hf://OWNER/REPO"):
        zoo.load(name)


def test_the_command(tmp_path):
    told = CliRunner().invoke(command, ["publish", NAME, "--preset", str(tmp_path / "p")])
    assert told.exit_code == 0, told.output
    assert sorted(told.output.split()) == [str(tmp_path / "p" / name) for name in PARTS]
    with pytest.raises(InputError, match="No zoo model"):
        CliRunner().invoke(
            command, ["publish", "nobody", "--preset", str(tmp_path)], catch_exceptions=False
        )


def test_keras_hub_reads_it(preset):
    pytest.importorskip("keras_hub")
    from keras_hub.src.utils.preset_utils import get_preset_loader

    loader = get_preset_loader(str(preset))
    assert loader.check_backbone_class() is keras.Model
    np.testing.assert_array_equal(loader.load_backbone(keras.Model, True)(X), expected())
