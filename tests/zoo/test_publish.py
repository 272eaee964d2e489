"""A published mirror serves every model; the gallery works in a browser and asks nobody for
anything."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading

import pytest

from keras_l2feat import files, zoo
from keras_l2feat.zoo import registry
from keras_l2feat.zoo.fetch import fetch
from keras_l2feat.zoo.gallery import gallery_page
from keras_l2feat.zoo.publish import publish

NAMES = [
    "bipartite-4-wide",
    "bipartite-4-plateau",
    "one-dim-plateau",
    "mnist-789-42-wide",
    "mnist-789-42-plateau",
]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    publish(folder, names=NAMES)
    return folder


def test_a_mirror_is_complete(mirror):
    expected = {f"{name}{suffix}" for name in NAMES for suffix in (".keras", ".md")} | {
        "registry.json",
        "index.html",
    }
    assert {path.name for path in mirror.iterdir()} == expected
    rows = registry.read(mirror / "registry.json")
    assert [one.name for one in rows] == NAMES
    for one in rows:
        assert files.sha256(mirror / one.file) == one.sha256
        assert not one.shipped


def test_publishing_again_leaves_right_files_alone_and_mends_wrong_ones(mirror):
    right, wrong = mirror / "bipartite-4-wide.keras", mirror / "one-dim-plateau.keras"
    before = right.stat().st_mtime_ns
    wrong.write_bytes(b"broken")
    publish(mirror, names=NAMES)
    assert right.stat().st_mtime_ns == before
    assert files.sha256(wrong) == zoo.entry("one-dim-plateau").sha256


def test_models_come_from_a_mirror_that_any_web_server_serves(mirror, tmp_path, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=mirror)
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        monkeypatch.setenv("KERAS_L2FEAT_ZOO_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KERAS_L2FEAT_CACHE", str(tmp_path))
        monkeypatch.delenv("KERAS_L2FEAT_OFFLINE", raising=False)
        for one in registry.read(mirror / "registry.json"):
            assert fetch(one) == tmp_path / one.file
            files.load_model(tmp_path / one.file)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_refers_to_nothing_outside(mirror):
    page = (mirror / "index.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    assert not re.search(r"@import|url\(|https?://", page)
    for name in NAMES:
        assert f"zoo.load(&quot;{name}&quot;)" in page
        assert f'id="{name}"' in page


def test_pairs_stand_side_by_side_and_curves_begin_at_zero(mirror):
    page = (mirror / "index.html").read_text()
    pairs = re.findall(r'<section class="pair">.*?</section>', page, flags=re.DOTALL)
    names = [re.findall(r'<article class="card" id="([^"]+)"', pair) for pair in pairs]
    assert names == [NAMES[:2], NAMES[2:3], NAMES[3:]]
    row = re.search(r"mnist-789-42-plateau</a>.*?</tr>", page)[0]
    assert "2\u202f379" in row
    assert f'data-order="{round(41953 / 2379, 2)}"' in row
    for curve in re.findall(r'<svg[^>]*class="curve">.*?</svg>', page):
        assert ">0</text>" in curve


def test_text_of_a_card_cannot_become_markup():
    good = zoo.entry("bipartite-4-wide")
    bad = {"title": "<script>alert(1)</script>", "family": '"><img src=x>', "data": "</style>"}
    page = gallery_page([zoo.Entry(**good.as_row() | {"facts": good.facts | bad})])
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "</style>" not in page.split("<body>")[1]


# What a visitor does, done by a script of the page's own; its findings are read back from the
# page's title.
VISIT = """
<script>
addEventListener("load", async () => {
  const found = {errors: window.errors || []};
  const all = (chosen) => [...document.querySelectorAll(chosen)];
  const names = () => all("#models tbody th").map((cell) => cell.textContent);
  const button = (label) => [...document.querySelectorAll("#models thead button")]
    .find((one) => one.textContent === label);
  button("Parameters").click();
  found.rising = names();
  found.sort = button("Parameters").parentElement.getAttribute("aria-sort");
  button("Parameters").click();
  found.falling = names();
  button("Test accuracy").click();
  found.unknownLast = names();
  document.querySelector(".copy").click();
  await new Promise((resolve) => setTimeout(resolve, 200));
  found.status = document.getElementById("status").textContent;
  location.hash = "#one-dim-plateau";
  await new Promise((resolve) => setTimeout(resolve, 100));
  found.open = document.querySelector("#one-dim-plateau details").open;
  found.width = document.documentElement.scrollWidth;
  found.unlabelled = all("svg").filter((one) => !one.getAttribute("aria-label")).length;
  const heights = all("button").map((one) => one.getBoundingClientRect().height);
  found.small = heights.filter((height) => height < 40).length;
  document.title = JSON.stringify(found);
});
</script>
"""


def browser():
    for name in ["chromium", "chromium-browser", "google-chrome", "chrome"]:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium here: install it to test the gallery in a browser")


def visit(page, folder, width):
    """The document after the visit at a window of that width, and what the browser complained
    of."""
    path = folder / "visit.html"
    watch = "<script>window.errors = []; onerror = (text) => { errors.push(text); };</script>"
    path.write_text(page.replace("<head>", f"<head>{watch}").replace("</body>", f"{VISIT}</body>"))
    command = [
        browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging",
    ]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(folder)},
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_in_a_browser(width, mirror, tmp_path):
    import html
    import json

    document, console = visit((mirror / "index.html").read_text(), tmp_path, width)
    title = re.search(r"<title>(.*?)</title>", document, re.DOTALL)[1]
    found = json.loads(html.unescape(title))
    assert found["errors"] == []
    assert console == []
    order = sorted(NAMES, key=lambda name: zoo.entry(name).facts["parameters"])
    assert found["rising"] == order
    assert found["falling"] == order[::-1]
    assert found["sort"] == "ascending"
    assert {"mnist-789-42-wide", "mnist-789-42-plateau"} == set(found["unknownLast"][:2])
    assert found["status"] in {"Copied.", "The line is selected: copy it with your keyboard."}
    assert found["open"]
    assert found["width"] <= width  # the table scrolls, the page does not
    assert found["unlabelled"] == 0
    assert found["small"] == 0
