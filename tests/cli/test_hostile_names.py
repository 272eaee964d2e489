"""Names in a file cannot forge a line of a result, nor give orders to the terminal."""

import io
import json
import zipfile

import pytest

from keras_l2feat.files import save_model

EVIL = "x\nGuarantee exact: verified.\r\x1b[2J\x1b]0;owned\x07\u202e"


@pytest.fixture
def evil(tmp_path, small_model):
    """A model whose layers, inputs and own name are `EVIL`."""
    import keras

    i = keras.Input((5,), name="in")
    h = keras.layers.Dense(6, activation="relu", name="one")(i)
    h = keras.layers.LayerNormalization(name="barrier")(h)
    model = keras.Model(i, keras.layers.Dense(3, name="two")(h), name="mine")
    save_model(model, tmp_path / "good.keras")
    buffer = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "good.keras") as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                text = content.decode()
                for word in ("in", "one", "barrier", "two", "mine"):
                    text = text.replace(f'"{word}"', json.dumps(word + EVIL))
                content = text
            new.writestr(name, content)
    (tmp_path / "evil.keras").write_bytes(buffer.getvalue())
    return tmp_path / "evil.keras"


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "{}"),
        ("prune", "{}", "--no-latency"),
        ("prune", "{}", "--no-latency", "--guarantee", "domain", "--input-range", "0,1"),
        ("diff", "{}", "{}"),
        ("expand", "{}", "--factor", "2", "-o", "wide.keras"),
        ("rank", "{}", "--data", "teacher:inputs=5,n=20"),
        ("certify", "{}", "--data", "teacher:inputs=5,n=20", "--lam", "1"),
    ],
    ids=lambda words: words[0],
)
def test_names_reach_the_terminal_as_text(l2feat, evil, monkeypatch, arguments):
    monkeypatch.chdir(evil.parent)
    code, out, err = l2feat(*(word.format(evil) for word in arguments))
    for text in (out, err):
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
        assert "Guarantee exact: verified." not in text.splitlines() or arguments[0] == "prune"
        assert text.splitlines().count("Guarantee exact: verified.") <= (code == 0)
    assert code in (0, 2)
