"""The report page: complete in itself, true to the pruning, and fine in a real browser."""

import re
import shutil
import subprocess

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_l2feat.network import DenseNetwork  # noqa: E402
from keras_l2feat.pruning import prune  # noqa: E402
from keras_l2feat.pruning.plan import Plan, Removal, removed_units  # noqa: E402
from keras_l2feat.report import directions  # noqa: E402
from keras_l2feat.report.page import pruning_page, write_pruning_page  # noqa: E402

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
    "--enable-logging=stderr --v=0"
)


@pytest.fixture(scope="module")
def pruning():
    """A small model with copies, a dead unit and a barrier, and what pruning it gave."""
    x = keras.Input((6,), name="x")
    h = keras.layers.Dense(9, "relu", name="first<&>layer")(x)
    h = keras.layers.Dense(7, "relu", name="second")(
        keras.layers.LayerNormalization(name="norm")(h)
    )
    model = keras.Model(x, keras.layers.Dense(3, name="logits")(h), name="demo")
    random = np.random.default_rng(0)
    model.set_weights([random.standard_normal(w.shape) for w in model.get_weights()])
    kernel, bias = model.get_layer("second").get_weights()
    kernel[:, 4], bias[4] = 2 * kernel[:, 1], 2 * bias[1]
    kernel[:, 5], bias[5] = 0.5 * kernel[:, 1], 0.5 * bias[1]
    model.get_layer("second").set_weights([kernel, bias])
    pruned, certificate = prune(model)
    return certificate.to_json(), model, pruned, certificate.plans


def test_the_page_says_what_happened(pruning):
    page = pruning_page(*pruning)
    assert "first&lt;&amp;&gt;layer" in page
    assert "<layer" not in page
    assert "<th>norm</th><td>it couples channels" in page
    assert "7 → 5: 2 aligned" in page
    assert page.count('class="panel"') == 1  # only "second" lost units
    assert page.count('<circle class="gone"') == 2
    assert page.count('<circle class="kept"') == 5 + 5  # before and after
    assert "milliseconds" not in page  # nobody measured them
    assert "verified" in page
    assert page.count("random, scale") == 2  # in the table, and in the JSON
    assert "np.float64" not in page
    assert "nan" not in re.sub(r"<pre>.*</pre>", "", page, flags=re.DOTALL).lower().split()


def test_the_page_needs_nothing_else(pruning):
    page = pruning_page(*pruning)
    assert not re.search(r"<script|https?://|<link(?![^>]*data:)|@import|url\(", page)
    assert len(page) < 200_000


def test_where_nothing_can_go_the_page_is_no_success(pruning):
    _, _, pruned, _ = pruning
    same, certificate = prune(pruned)
    hints = ["Nothing can go.", "  l2feat prune a.keras --tolerance <T>"]
    page = pruning_page({**certificate.to_json(), "advice": hints}, pruned, same, certificate.plans)
    assert '<span class="badge fell">nothing can go</span>' in page
    assert '<span class="badge">' not in page
    assert "<p>Nothing can go.</p><pre>l2feat prune a.keras --tolerance &lt;T&gt;</pre>" in page


def test_units_of_later_plans_are_counted_in_the_first_model():
    def plan(*units):
        return Plan(removed=[Removal("a", unit, "dead") for unit in units])

    assert removed_units([plan(1, 3), plan(1), plan(0, 2)]) == {"a": {0, 1, 2, 3, 5}}


def test_nothing_removed_and_large_layers():
    model = DenseNetwork.random((5, 600, 2)).to_model()
    pruned, certificate = prune(model)
    page = pruning_page(certificate.to_json(), model, pruned, certificate.plans)
    assert "200 drawn at random" in page
    assert "600 → 600" in page


def test_of_many_layers_those_that_lost_most_are_drawn():
    layer = {"removed": {}, "units_after": 3}
    before, after = (DenseNetwork.random((4, *[width] * 30, 2)).to_model() for width in (4, 3))
    plan = Plan(removed=[Removal(f"hidden_{k}", 0, "dead") for k in range(1, 31)])
    result = {"layers": [{"name": f"hidden_{k}", "units_before": 4, **layer} for k in range(1, 31)]}
    page = pruning_page(result, before, after, [plan])
    assert page.count('class="panel"') == 24
    assert "6 other layers" in page


def test_cards_show_milliseconds_and_no_ratio_of_one():
    result = {"layers": [], "latency_seconds_before": 2.5e-3, "latency_seconds_after": 2.4999e-3}
    model = DenseNetwork.random((4, 3, 2)).to_model()
    page = pruning_page(result, model, model)
    assert "<b>2.5 → 2.5</b>milliseconds" in page
    assert "1.00 times" not in page


def test_a_histogram_only_where_units_are_near_but_not_on_one_ray():
    def page(angle):
        first, last = DenseNetwork.random((5, 6, 2), seed=0).weights
        first[:, 1] = np.cos(angle) * first[:, 0] + np.sin(angle) * first[:, 2]
        model = DenseNetwork((first, last)).to_model()
        return pruning_page({"layers": []}, model, model)

    assert 'class="histogram"' in page(1e-3)
    assert 'class="histogram"' not in page(0.0)
    assert "2 units share their ray with another" in page(0.0)


def test_a_layer_whose_inputs_were_pruned_is_seen_from_where_it_was():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((8, 6))
    basis, _ = directions.plane(vectors)
    rotation, _ = np.linalg.qr(random.standard_normal((6, 6)))
    points = directions.turned(vectors @ rotation, vectors @ basis)
    cosines = np.sum(points * (vectors @ basis), axis=1) / np.prod(
        [np.linalg.norm(p, axis=1) for p in (points, vectors @ basis)], axis=0
    )
    assert cosines.min() > 0.9


def test_nearest_angles_are_exact_for_tiny_angles():
    angle = 1e-7
    vectors = np.array(
        [[1.0, 0.0], [2 * np.cos(angle), 2 * np.sin(angle)], [0.0, -1.0], [0.0, 0.0]]
    )
    np.testing.assert_allclose(
        directions.nearest_angles(vectors), [angle, angle, np.pi / 2], rtol=1e-6
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_errors(pruning, tmp_path, width):
    path, shot = tmp_path / "page.html", tmp_path / "page.png"
    write_pruning_page(path, *pruning)
    frame = tmp_path / "frame.html"  # reports what a phone would have to scroll sideways
    frame.write_text(
        '<iframe id="f" src="page.html" '
        f'style="border:0;width:{width}px;height:3000px"></iframe><script>'
        "f.onload = () => {const d = f.contentDocument.documentElement; document.title = "
        '"width " + d.scrollWidth;'
        'console.log("WIDTH " + d.scrollWidth + " PANELS " + '
        'd.querySelectorAll(".panel").length)}</script>'
    )

    def browse(page, *options):
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        files = "--allow-file-access-from-files"
        command = [CHROMIUM, *FLAGS.split(), profile, files, *options, page.as_uri()]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True
        ).stderr

    said = browse(
        frame,
        f"--window-size={width + 40},3000",
        "--virtual-time-budget=3000",
        f"--screenshot={shot}",
    )
    console = [line for line in said.splitlines() if "CONSOLE" in line]
    (measured,) = [line for line in console if "WIDTH" in line]
    assert len(console) == 1, console
    assert int(re.search(r"WIDTH (\d+)", measured)[1]) <= width
    assert int(re.search(r"PANELS (\d+)", measured)[1]) == 1
    assert shot.stat().st_size > 10_000
    printed = tmp_path / "page.pdf"
    browse(path, f"--print-to-pdf={printed}")
    assert printed.read_bytes().startswith(b"%PDF")
