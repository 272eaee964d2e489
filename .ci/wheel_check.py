"""The wheel, built from a clean copy, installed into a fresh environment and used from an empty
folder.

Run by `make wheel-check`. Prints what it does; exits non-zero at the first thing that is wrong.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MEGABYTES = 5
KEPT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "results", "__pycache__", ".*_cache"
)


def run(*command, **options):
    print("$", " ".join(map(str, command)), flush=True)
    return subprocess.run(command, check=True, **options)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        source = scratch / "source"
        shutil.copytree(ROOT, source, ignore=KEPT_OUT)  # a stale build/ would ship deleted files
        run(
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--outdir",
            scratch,
            source,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = scratch.glob("*.whl")
        megabytes = wheel.stat().st_size / 2**20
        print(f"{wheel.name}: {megabytes:.2f} MB")
        assert megabytes < MOST_MEGABYTES, f"the wheel must stay under {MOST_MEGABYTES} MB"
        inside = set(zipfile.ZipFile(wheel).namelist())
        on_disk = {
            f"keras_l2feat/{folder}{path.relative_to(base)}"
            for folder, base in (
                ("", source / "keras_l2feat"),
                ("zoo/", source / "zoo"),
                ("cli/", source / "cli"),
            )
            for path in base.rglob("*")
            if path.is_file()
        }
        wrong = {name for name in inside if ".dist-info/" not in name} ^ on_disk
        assert not wrong, f"wheel and folders disagree on: {sorted(wrong)}"

        environment = scratch / "venv"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        constraints = ["--constraint", ROOT / "constraints.txt"]
        run(python, "-m", "pip", "install", "--quiet", *constraints, wheel)
        empty = scratch / "empty"
        empty.mkdir()
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        options = {"cwd": empty, "env": clean}
        run(
            python,
            "-c",
            "from keras_l2feat import zoo; zoo.load('mnist-1k-1pct-wide').summary()",
            **options,
        )
        l2feat = environment / "bin" / "l2feat"
        run(l2feat, "--version", **options)
        command = [
            l2feat,
            "prune",
            "zoo:mnist-1k-1pct-wide",
            "--data",
            "mnist-1k",
            "-o",
            "small.keras",
            "--json",
            "r.json",
        ]
        run(*command, **options)
        result = json.loads((empty / "r.json").read_text())
        assert result["verified"], result
        assert (empty / "small.keras").exists()
        code = "import keras; print(keras.saving.load_model('small.keras').count_params())"
        run(python, "-c", code, **options)
    print("wheel check passed")


if __name__ == "__main__":
    main()
