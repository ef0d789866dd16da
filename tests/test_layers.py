"""The import rule: a module imports only from those before it, and each heavy framework has one home.

The rule is read from the source, imports inside functions included. A new module of ``fercore`` must be given its place in
``LAYERS`` here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from source_imports import imports, sources

ROOT = Path(__file__).resolve().parent.parent

SERVING = (
    "errors",
    "labels",
    "config",
    "containers",
    "images",
    "onnxfile",
    "faces",
    "preprocess",
    "features",
    "calibration",
    "study",
    "hub",
    "runs",
    "inference",
    "personal",
    "batch",
    "cluster",
    "output",
    "tracking",
    "video",
    "stream",
    "respond",
    "overlay",
    "timeline",
)
EVALUATION = ("datasets", "zips", "metrics", "evaluation", "cards", "comparison", "papers")
LAYERS = (*SERVING, *EVALUATION, "analysis", "charts", "browser", "locks", "jobs", "space")
APP = ("ui", "pages", "app")
COMMANDS = ("commands", "cli", "__main__")
LIGHT = ("errors", "labels", "config")
"""What ``fercore/__init__.py`` may import when it is imported itself."""

HOMES = {
    "streamlit": APP,
    "tensorflow": ("training",),
    "keras": ("training",),
    "tf2onnx": ("training",),
    "sklearn": (*LAYERS[len(SERVING) :], "training", *APP, *COMMANDS),
}
"""Which layers may import a framework at all."""


def allowed(layer: str) -> tuple[str, ...]:
    """Return the layers that a layer may import, itself included."""
    if layer in LAYERS:
        below = LAYERS[: LAYERS.index(layer) + 1]
        return (*below, "training") if layer == "jobs" else below
    if layer == "training":
        return (*SERVING, *EVALUATION, "training")
    if layer in APP:
        return (*LAYERS, *APP[: APP.index(layer) + 1])
    if layer in COMMANDS:
        return (*LAYERS, "training", *COMMANDS[: COMMANDS.index(layer) + 1])
    return (*LIGHT, *LAYERS)


def violations(root: Path) -> list[str]:
    """Return one line for each import that breaks the rule."""
    known = {*LAYERS, *APP, *COMMANDS, "training", "fercore"}
    result = []
    for layer, path in sources(root):
        where = path.relative_to(root).as_posix()
        if layer not in known:
            result.append(f"{where}: module {layer!r} has no place in LAYERS of tests/test_layers.py; give it one")
            continue
        for item in imports(path, root):
            top, _, rest = item.target.partition(".")
            say = f"{where}:{item.line}: {layer} may not import"
            if top in HOMES and layer not in HOMES[top]:
                result.append(f"{say} {top}; only {', '.join(HOMES[top])} may")
            if top in APP and top not in allowed(layer):
                result.append(f"{say} {top}")
            if top != "fercore":
                continue
            part = rest.partition(".")[0]
            if part not in known:
                if layer not in APP and not part.startswith("__"):
                    result.append(f"{say} {part or 'fercore'} from the package itself; name the module that defines it")
            elif part not in allowed(layer):
                result.append(f"{say} {part}")
            elif part == "training" and layer != "training" and not item.deferred:
                result.append(f"{say} training outside a function: it loads TensorFlow")
            elif layer == "fercore" and part not in LIGHT and not item.deferred:
                result.append(f"{say} {part} outside a function: importing fercore must stay light")
    return result


def make_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_repository_keeps_the_rule() -> None:
    assert sum(1 for _ in sources(ROOT)) > 10, "the checker found hardly any file: is it looking in the right place?"
    assert violations(ROOT) == []


def test_checker_accepts_a_tree_that_keeps_the_rule(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        {
            "fercore/__init__.py": "from .errors import FerError\ndef load():\n    from .inference import Predictor\n",
            "fercore/errors.py": "import sys\n",
            "fercore/inference.py": "import onnxruntime\nfrom . import images, runs\nfrom .errors import FerError\n",
            "fercore/datasets/base.py": "import pandas as pd\nfrom ..errors import DataError\n",
            "fercore/datasets/expw.py": "from . import base\nfrom .base import Dataset\nfrom ..images import load_image\n",
            "fercore/metrics.py": "from sklearn import metrics\nfrom fercore.datasets import base\n",
            "fercore/training/models/cnn.py": "import keras\nfrom ...metrics import f1\nfrom .. import recipe\n",
            "fercore/cli.py": "from . import __version__\ndef train():\n    from .training import fit\n",
            "fercore/jobs.py": "def train():\n    from fercore.training import fit\n",
            "fercore/__main__.py": "from .cli import main\n",
            "fercore/ui/state.py": "import streamlit as st\nfrom .. import charts, jobs\nfrom . import widgets\n",
            "pages/overview.py": "from fercore import Predictor, charts\nfrom fercore.ui import widgets\n",
            "app.py": "import streamlit as st\nfrom fercore import ui\n",
        },
    )
    assert violations(tree) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("fercore/faces.py", "from .runs import Run\n", "fercore/faces.py:1: faces may not import runs"),
        ("fercore/faces.py", "from fercore import runs\n", "faces may not import runs"),
        ("fercore/faces.py", "import fercore.runs as r\n", "faces may not import runs"),
        ("fercore/faces.py", "def f():\n    from . import runs\n", "fercore/faces.py:2: faces may not import runs"),
        ("fercore/faces.py", "import importlib\nimportlib.import_module('.runs', 'fercore')\n", "may not import runs"),
        ("fercore/runs.py", "from .inference import Predictor\n", "runs may not import inference"),
        ("fercore/datasets/expw.py", "from ..metrics import f1\n", "datasets may not import metrics"),
        ("fercore/datasets/deep/er.py", "from ... import charts\n", "datasets may not import charts"),
        ("fercore/metrics.py", "from fercore import Predictor\n", "may not import Predictor from the package itself"),
        ("fercore/charts.py", "import streamlit as st\n", "charts may not import streamlit; only ui, pages, app may"),
        ("fercore/charts.py", "def f():\n    import streamlit.components\n", "charts may not import streamlit"),
        ("fercore/analysis/a.py", "from keras import layers\n", "analysis may not import keras; only training may"),
        ("fercore/cli.py", "import tensorflow as tf\n", "cli may not import tensorflow"),
        ("fercore/cli.py", "from .training import fit\n", "may not import training outside a function"),
        ("fercore/cli.py", "def f():\n    from . import ui\n", "cli may not import ui"),
        ("fercore/charts.py", "def f():\n    from .training import fit\n", "charts may not import training"),
        ("fercore/ui/pick.py", "def f():\n    from ..training import fit\n", "ui may not import training"),
        ("fercore/training/fit.py", "from ..charts import curves\n", "training may not import charts"),
        ("fercore/inference.py", "import sklearn.metrics\n", "inference may not import sklearn"),
        ("fercore/jobs.py", "from . import cli\n", "jobs may not import cli"),
        ("fercore/ui/pick.py", "import pages.overview\n", "ui may not import pages"),
        ("pages/overview.py", "import app\n", "pages may not import app"),
        ("fercore/__init__.py", "from .inference import Predictor\n", "importing fercore must stay light"),
        ("fercore/novelty.py", "import sys\n", "module 'novelty' has no place in LAYERS"),
    ],
)
def test_checker_finds_a_violation(tmp_path: Path, name: str, text: str, told: str) -> None:
    found = violations(make_tree(tmp_path, {name: text}))
    assert len(found) == 1
    assert told in found[0]


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh Python holds after running some code."""
    script = f"import sys\n{code}\nprint('loaded', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import fercore")
    assert "fercore" in loaded
    assert not loaded & {
        "numpy",
        "cv2",
        "PIL",
        "onnxruntime",
        "pandas",
        "scipy",
        "sklearn",
        "tensorflow",
        "keras",
        "streamlit",
    }


def test_serving_loads_no_training_framework() -> None:
    present = [layer for layer in SERVING if (ROOT / "fercore" / f"{layer}.py").is_file()]
    loaded = loaded_after("\n".join(f"import fercore.{layer}" for layer in present))
    assert "numpy" in loaded
    assert not loaded & {"tensorflow", "keras", "torch", "jax", "sklearn", "streamlit"}
