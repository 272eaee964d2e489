"""`.npz` files that unpack to gigabytes, lie about shapes, or carry pickles."""

import io
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

from keras_l2feat import data
from keras_l2feat.archive.arrays import read_arrays
from keras_l2feat.cli.main import cli
from keras_l2feat.errors import InputError

MEGABYTES = 300


def member(array=None, *, shape=None, descr="<f4", body=b"", header=None):
    """The bytes of one array of an `.npz`: as NumPy writes it, or with a header that lies."""
    stream = io.BytesIO()
    if array is not None:
        np.save(stream, array)
    elif header is not None:
        stream.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    else:
        facts = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue() + body


class Executed:
    def __reduce__(self):
        return os.system, ("touch executed",)


X, Y = member(np.ones((4, 3), "f4")), member(np.zeros(4, "i8"))
HOSTILE = {
    "a bomb": {"x_train.npy": member(shape=(1 << 27,), body=bytes(1 << 29))},
    "a shape that is not there": {"x_train.npy": member(shape=(1 << 20, 1 << 20))},
    "a shape of minus one": {"x_train.npy": member(shape=(-1, 3), body=bytes(12))},
    "a negative shape": {"x_train.npy": member(shape=(-4, -3), body=bytes(48))},
    "a shape too small": {"x_train.npy": member(shape=(2, 3), body=bytes(48))},
    "a huge element": {"x_train.npy": member(shape=(4,), descr="|V2000000000")},
    "no elements, a huge shape": {"x_train.npy": member(shape=(1 << 40, 0))},
    "a pickle": {"x_train.npy": member(shape=(1,), descr="|O", body=pickle.dumps([Executed()]))},
    "a bare pickle": {"x_train.npy": pickle.dumps(Executed())},
    "a header of code": {"x_train.npy": member(header=b"__import__('os').system('touch "
    b"executed')\n")},
    "a header too long": {"x_train.npy": member(header=b"(" * 60_000)},
    "letters": {"x_train.npy": member(np.array(["a", "b"]))},
    "no array": {"x_train.npy": b"nothing"},
    "no member": {},
    "another extension": {"x_train.txt": X},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in ({"y_train.npy": Y} | HOSTILE[name]).items():
            archive.writestr(file, content)
    assert os.path.getsize("data.npz") < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        data.load("data.npz")
    assert "data.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10
    assert os.listdir() == ["data.npz"]


def test_hostile_bounds_of_inputs(tmp_path):
    with zipfile.ZipFile(tmp_path / "range.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("low.npy", member(shape=(1 << 27,), body=bytes(1 << 29)))
        archive.writestr("high.npy", member(np.ones(3)))
    done = CliRunner().invoke(
        cli, ["prune", "zoo:mnist-1k-1pct-wide", "--input-range", str(tmp_path / "range.npz"), "-q"]
    )
    assert done.exit_code == 2
    assert "unpack" in done.output


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_honest_arrays_of_every_kind_come_back(save, tmp_path):
    arrays = {
        "zero": np.zeros((300, 300)),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 5)),
        "text": np.array("words"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "flags": np.array([True, False]),
    }
    save(tmp_path / "a.npz", **arrays)
    found, names = read_arrays(tmp_path / "a.npz")
    assert names == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
