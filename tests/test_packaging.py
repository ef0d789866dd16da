"""Requirement lists: complete, pinned, agreeing with ``pyproject.toml``, installable on every platform; and the wheel."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fercore import __version__
from source_imports import imports, sources

ROOT = Path(__file__).resolve().parent.parent
LISTS = {
    "requirements-serve.txt": ("app", "hub"),
    "requirements.txt": ("app", "hub", "train"),
    "requirements-dev.txt": ("app", "hub", "train", "ray", "dev"),
}
"""Each list, and the extras of ``pyproject.toml`` that it locks beside the core."""

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][\w.]*)(?: ; (?P<marker>[^#]+?))?(?:\s+# .*)?")
TRAINING_ONLY = {"tensorflow", "keras", "tf2onnx", "onnx", "optuna", "cleanlab"}
NAMES = {"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image"}
"""Distributions whose modules have another name; elsewhere ``_`` becomes ``-``."""
NAMES |= {"vl_convert": "vl-convert-python"}

TRAINS = {"training", "datasets", "evaluation", "runs", "features", "commands", "cards"}
"""Layers that ``pip install .[train]`` alone must be enough for."""

BACKENDS = {"torch", "jax"}
"""What Keras can run on instead of TensorFlow: imported by ``training`` inside functions, for those who have it."""

PLATFORMS = {
    "x86_64-manylinux_2_28": "linux",
    "aarch64-manylinux_2_28": "linux",
    "windows": "win32",
    "aarch64-apple-darwin": "darwin",
}


def pins(name: str) -> dict[str, tuple[str, str]]:
    """Return ``{distribution: (version, marker)}`` of a list; a line that is no exact pin fails."""
    result = {}
    for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            match = PIN.fullmatch(line)
            assert match, f"{name}:{number}: not pinned as NAME==VERSION: {line}"
            result[match["name"]] = (match["version"], match["marker"] or "")
    return result


def asked(*extras: str) -> dict[str, Requirement]:
    """Return what ``pyproject.toml`` names directly: the core, and some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


def third_party(layer: str, path: Path, *, deferred: bool) -> dict[str, str]:
    """Return ``{distribution: where}`` for the imports of a file that are neither ours nor Python's."""
    ours = {"fercore", "pages", "app", "benchmarks", "examples"} | {
        file.stem for place in ("tests", "conversion", "docs") for file in (ROOT / place).glob("*.py")
    }
    found = {}
    for item in imports(path, ROOT):
        top = item.target.partition(".")[0]
        if top not in ours and top not in sys.stdlib_module_names and (deferred or not item.deferred):
            found[NAMES.get(top, canonicalize_name(top))] = f"{path.relative_to(ROOT).as_posix()}:{item.line} ({layer})"
    return found


@pytest.mark.parametrize("name", LISTS)
def test_list_is_pinned_and_answers_pyproject(name: str) -> None:
    locked = pins(name)
    for distribution, requirement in asked(*LISTS[name]).items():
        assert distribution in locked, f"{name} lacks {distribution}: run make lock"
        assert requirement.specifier.contains(locked[distribution][0]), f"{name}: {distribution}: run make lock"


def test_lists_agree_with_each_other() -> None:
    serve, full, dev = (pins(name) for name in LISTS)
    assert serve.items() <= full.items() <= dev.items()


def test_serving_needs_no_training_framework() -> None:
    assert not TRAINING_ONLY & set(pins("requirements-serve.txt"))
    assert set(pins("requirements.txt")) >= TRAINING_ONLY


def test_every_import_is_asked_for() -> None:
    """By name, not by luck: what another package happens to bring may go with its next release."""
    light, app, full, training = asked(), asked("app"), asked("app", "train"), asked("train")
    cluster, hub, dev = asked("ray"), asked("hub"), asked(*LISTS["requirements-dev.txt"])
    missing = []
    for layer, path in sources(ROOT):
        direct = full if layer in ("cli", "jobs") else cluster if layer == "cluster" else app
        direct = training if layer in TRAINS else direct
        direct = {**direct, **hub} if layer in ("hub", "space") else direct
        optional = BACKENDS - set(third_party(layer, path, deferred=False)) if layer == "training" else set()
        found = third_party(layer, path, deferred=True)
        missing += [f"{where}: {name}" for name, where in found.items() if name not in {*direct, *optional}]
    for path in sorted((ROOT / "tests").rglob("*.py")):
        missing += [
            f"{where}: {name}" for name, where in third_party("tests", path, deferred=True).items() if name not in dev
        ]
    for layer in ("config", "images", "faces", "preprocess", "calibration", "runs", "inference", "stream", "cli"):
        path = ROOT / "fercore" / f"{layer}.py"
        if path.is_file():
            found = third_party(layer, path, deferred=False)
            missing += [f"{where}: {name} is not in the core" for name, where in found.items() if name not in light]
    assert missing == []


def run_uv(*arguments: str | Path, timeout: float = 180, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_PYTHON_DOWNLOADS": "never"}
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the package index cannot be reached: one small package that everybody has tells."""
    probe = tmp_path_factory.mktemp("probe") / "probe.in"
    probe.write_text("six\n", encoding="utf-8")
    try:
        done = run_uv("pip", "compile", "--no-cache", "--python", sys.executable, probe, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("needs the package index: no answer in 60 s")
    if done.returncode:
        pytest.skip(f"needs the package index: {done.stderr.strip().splitlines()[-1]}")


@pytest.mark.long
@pytest.mark.usefixtures("package_index")
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", LISTS)
def test_list_installs_from_wheels(name: str, platform: str, python: str) -> None:
    """Every pin has a wheel there, the pins agree with each other, and together they need nothing that is not pinned."""
    options = ("--only-binary", ":all:", "--no-header", "--no-annotate", "--python", sys.executable)
    done = run_uv("pip", "compile", *options, "--python-platform", platform, "--python-version", python, name)
    assert done.returncode == 0, done.stderr
    resolved = dict(line.split(" ")[0].split("==") for line in done.stdout.splitlines())
    there = {"sys_platform": PLATFORMS[platform], "python_version": python}
    wanted = {
        distribution: version
        for distribution, (version, marker) in pins(name).items()
        if not marker or Marker(marker).evaluate(there)
    }
    assert resolved == wanted


CORE_ALONE = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    names = set(sys.argv[1:])

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in [name for name in sys.modules if name.partition(".")[0] in Refuse.names]:
    del sys.modules[name]
sys.argv[1:] = []
"""
"""Lets Python import nothing of the modules that its arguments name."""


def copy_sources(target: Path) -> Path:
    """Copy what a build reads, without ``artifacts/``."""
    shutil.copytree(ROOT / "fercore", target / "fercore", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy2(ROOT / name, target / name)
    return target


def build_wheel(source: Path, out: Path) -> Path:
    done = run_uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, source)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.mark.long
def test_wheel_carries_the_detector_and_the_default_run_only(tmp_path: Path) -> None:
    source = copy_sources(tmp_path / "source")
    for name in ("detector/detector.json", "one/run.json", "two/run.json", "other/run.json", ".pair.1234/run.json"):
        (source / "artifacts" / name).parent.mkdir(parents=True)
        (source / "artifacts" / name).write_text("{}", encoding="utf-8")
    (source / "artifacts" / "pair").mkdir()
    (source / "artifacts" / "pair" / "run.json").write_text(json.dumps({"members": ["one", "two"]}), encoding="utf-8")
    (source / "artifacts" / "DEFAULT").write_text("pair\n", encoding="utf-8")
    with zipfile.ZipFile(build_wheel(source, tmp_path / "out")) as wheel:
        names = wheel.namelist()
    carried = {name.removeprefix("fercore/artifacts/") for name in names if name.startswith("fercore/artifacts/")}
    assert carried == {"DEFAULT", "detector/detector.json", "pair/run.json", "one/run.json", "two/run.json"}
    assert f"fercore-{__version__}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if not name.startswith(("fercore/", f"fercore-{__version__}.dist-info/"))]


@pytest.mark.long
def test_installed_wheel_finds_what_it_carries(tmp_path: Path) -> None:
    """Installed alone in a fresh environment, which borrows third-party packages from this one: only those of the core."""
    source = copy_sources(tmp_path / "source")
    shutil.copytree(ROOT / "artifacts", source / "artifacts")
    wheel = build_wheel(source, tmp_path / "out")
    venv = tmp_path / "venv"
    done = run_uv("venv", "--python", sys.executable, venv)
    assert done.returncode == 0, done.stderr
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run_uv("pip", "install", "--offline", "--no-deps", "--python", python, wheel)
    assert done.returncode == 0, done.stderr
    site = next(venv.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy2(ROOT / "static" / "portrait.jpg", elsewhere)
    code = (
        CORE_ALONE
        + """
import fercore, fercore.cli
from fercore.config import artifacts_dir
(face,) = fercore.Predictor.load().predict("portrait.jpg")
print(json.dumps({"inside": artifacts_dir().as_posix(), "label": face.label}))
fercore.cli.main(["predict", "portrait.jpg", "--out", "faces.csv"], standalone_mode=False)
"""
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FER_", "PYTHON"))}
    done = subprocess.run(
        [python, "-I", "-c", code, *sorted(forbidden())],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"inside": (site / "fercore" / "artifacts").as_posix(), "label": "happy"}
    assert "written: faces.csv (1 photos, 1 faces, 0 unreadable)" in done.stderr


def forbidden() -> set[str]:
    """Return the modules of everything that the tests' environment holds and the core neither names nor brings along."""
    kept, waiting = set(), [*asked()]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [
                canonicalize_name(item.name)
                for item in needed
                if not item.marker or item.marker.evaluate({"extra": ""})
            ]
    modules = importlib.metadata.packages_distributions()
    return {top for top, names in modules.items() if not kept & set(map(canonicalize_name, names))} - {"fercore"}


def test_the_core_alone_finds_and_classifies_a_face() -> None:
    """With every module refused that ``pip install fercore`` does not bring: none is imported, not even where it would help."""
    refused = forbidden()
    assert {"pandas", "streamlit", "tensorflow", "sklearn", "skimage", "pyarrow"} <= refused
    assert not refused & {"numpy", "cv2", "PIL", "onnxruntime", "click", "tqdm", "fercore"}
    code = (
        CORE_ALONE
        + """
import fercore, fercore.cli
(face,) = fercore.Predictor.load().predict("static/portrait.jpg")
print(json.dumps({"label": face.label}))
fercore.cli.main(["predict", "static/portrait.jpg"], standalone_mode=False)
"""
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FER_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *sorted(refused)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert json.loads(first) == {"label": "happy"}
    assert lines[0] == "static/portrait.jpg: 1 face"
    assert lines[1].split()[0] == "happy"
