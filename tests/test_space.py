"""The folders of both kinds of Space: what is in them, what must not be, and the command that lists and uploads them."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fercore import hub, runs, space
from fercore.browser import assets
from fercore.cli import main
from fercore.errors import FerError
from fercore.runs import Run
from fercore.space import bundle, docker, results, theme
from fercore.ui import training_access
from made_run import made_ensemble, made_run

ROOT = Path(__file__).resolve().parent.parent
HEADS = {"consensus": ("angry", "happy", "sad"), "fer2013": ("happy", "sad")}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, of which two are shipped; one that browsers cannot serve, and an ensemble."""
    folder = tmp_path_factory.mktemp("space") / "artifacts"
    shutil.copytree(ROOT / "artifacts" / "detector", folder / "detector")
    first = made_run(folder, "first", heads=HEADS, faces=60, study=True)
    second = made_run(folder, "second", faces=120, seed=1)
    made_run(folder, "mine", faces=60, seed=2)
    info = {key: value for key, value in first.info.items() if key not in ("schema", "files")}
    runs.write(folder / "hog", {**info, "browser": False}, {name: first.path / name for name in first.info["files"]})
    made_ensemble(folder, "pair", [second, Run.load(folder / "mine")])
    (folder / "DEFAULT").write_text("second\n", encoding="utf-8")
    (folder / "SHIPPED").write_text("first\nsecond\n", encoding="utf-8")
    (folder / "first" / "notes.txt").write_text("my own notes", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def here(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(artifacts))
    monkeypatch.delenv("FER_RUN", raising=False)


@pytest.fixture(scope="module")
def static_site(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("static", artifacts, tmp_path_factory.mktemp("static") / "site")


@pytest.fixture(scope="module")
def docker_folder(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("docker", artifacts, tmp_path_factory.mktemp("docker") / "space")


def built(kind: str, artifacts: Path, target: Path, *names: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_ARTIFACTS", str(artifacts))
        space.build(kind, target, "ann/expressions", names)
    return target


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def front_matter(folder: Path) -> dict[str, str]:
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return dict(line.split(": ", 1) for line in head.splitlines())


def settings(page: Path) -> dict:
    text = re.search(r'<script type="application/json" id="settings">(.*?)</script>', page.read_text(encoding="utf-8"))
    return json.loads(text[1])


def test_static_site_holds_the_shipped_runs_and_nothing_else(static_site: Path) -> None:
    files = bundle.check(static_site)
    assert {name for name in files if name.startswith("run-")} == {"run-first.html", "run-second.html"}
    networks = [name for name in files if name.endswith(".onnx")]
    assert len(networks) == 3, "the detector and two networks"
    assert {Path(name).suffix for name in files} <= {
        ".html",
        ".css",
        ".js",
        ".mjs",
        ".md",
        ".txt",
        ".onnx",
        ".wasm",
        ".jpg",
    }
    assert not [name for name in files if "notes" in name or "mine" in name]
    every = b"".join(
        (static_site / name).read_bytes() for name in files if not name.endswith((".onnx", ".wasm", ".jpg"))
    )
    assert b"my own notes" not in every
    assert str(Path.home()).encode() not in every


def test_static_site_tells_the_hub_what_it_is(static_site: Path) -> None:
    head = front_matter(static_site)
    assert (head["sdk"], head["app_file"]) == ("static", "index.html")
    assert len(head["short_description"]) <= 60, "the Hub refuses longer ones"


def test_settings_of_the_pages_come_from_the_runs(static_site: Path) -> None:
    told = settings(static_site / "index.html")
    assert told == settings(static_site / "live.html")
    assert [run["name"] for run in told["runs"]] == ["second", "first"], "the default run comes first"
    first = told["runs"][1]
    assert first["head"] == "consensus"
    assert {name: tuple(head["labels"]) for name, head in first["heads"].items()} == HEADS
    assert first["heads"]["fer2013"]["networks"][0]["input"]["size"] == 48
    for run in told["runs"]:
        for head in run["heads"].values():
            for file in (head["detector"]["file"], *(network["file"] for network in head["networks"])):
                (address,) = file["urls"]
                assert (static_site / address).stat().st_size == file["bytes"]


def test_networks_in_the_site_are_copies(static_site: Path) -> None:
    """``publish`` links files where it can; whoever edits a site must not change a run."""
    assert {path.stat().st_nlink for path in (static_site / "models").iterdir()} == {1}


@pytest.mark.skipif(
    not (ROOT / "static/ort/ort.wasm.bundle.min.mjs").is_file(), reason="needs static/ort: make browser"
)
def test_runtime_comes_along_where_it_is(static_site: Path) -> None:
    pinned = json.loads((assets.HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    for key, file in settings(static_site / "index.html")["runtime"].items():
        own, cdn = file["urls"]
        assert (static_site / own).stat().st_size == pinned[key]["bytes"]
        assert cdn.startswith("https://cdn.jsdelivr.net/npm/onnxruntime-web@")
        assert file["integrity"].startswith("sha384-")


def test_without_the_runtime_the_site_asks_the_cdn_alone(artifacts: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("pages", ".streamlit"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("app.py", "static/portrait.jpg"):
        bundle.copy(ROOT / name, root / name)
    space.build("static", tmp_path / "site", "ann/expressions", root=root)
    assert not (tmp_path / "site" / "ort").exists()
    for file in settings(tmp_path / "site" / "live.html")["runtime"].values():
        assert [url.split("/")[2] for url in file["urls"]] == ["cdn.jsdelivr.net"]


def test_command_says_that_a_site_without_the_runtime_needs_a_cdn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(kind: str, folder: Path, repo: str, names: object) -> None:
        (folder / "ort").mkdir(parents=True) if runtime else folder.mkdir(exist_ok=True)
        (folder / "index.html").write_text("<h1>Classify</h1>", encoding="utf-8")

    monkeypatch.setattr(space, "build", made)
    runtime = False
    lines = invoke("space", "ann/expressions", "--out", tmp_path / "without").stderr.splitlines()
    (note,) = [line for line in lines if line.startswith("note: ")]
    assert "static/ort is missing" in note
    assert "run `make browser`" in note
    assert "note: " not in invoke("space", "ann/expressions", "--kind", "docker", "--out", tmp_path / "docker").stderr
    runtime = True
    assert "note: " not in invoke("space", "ann/expressions", "--out", tmp_path / "with").stderr


def test_results_explain_their_terms(static_site: Path) -> None:
    for name in ("results.html", "run-first.html"):
        page = (static_site / name).read_text(encoding="utf-8")
        terms = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.split('<dl class="terms">')[1]))
        assert "harmonic mean" in terms["F1 and macro F1"]
        assert "confidence" in terms["Calibration error"]
        assert {"Accuracy", "Balanced accuracy", "Recall", "Head"} <= set(terms)


def test_pages_share_one_copy_of_each_library(static_site: Path) -> None:
    """Every address in a page is relative and there; the chart library stands in no page."""
    for page in static_site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for address in re.findall(r'(?:src|href)="([^"]*)"', text):
            if address.startswith(("data:", "#")):
                continue
            assert not re.match(r"[a-z]+:|/", address), f"{page.name}: {address}"
            assert (static_site / address.partition("?")[0]).is_file(), f"{page.name}: {address}"
        assert page.stat().st_size < 300_000, "the chart library alone has 900 kB"
    imports = [re.findall(r'from "\./([\w.-]+)"', path.read_text()) for path in (static_site / "js").glob("*.js")]
    assert {name for names in imports for name in names} == {"fercore.js", "look.js", "site.js"}


def test_run_that_no_browser_can_serve_still_shows_its_results(artifacts: Path, tmp_path: Path) -> None:
    site = built("static", artifacts, tmp_path / "site", "hog", "second")
    told = {run["name"]: run for run in settings(site / "index.html")["runs"]}
    assert told["hog"]["heads"] is None
    assert told["hog"]["refusal"] == "its handcrafted features are computed in Python"
    page = (site / "run-hog.html").read_text(encoding="utf-8")
    assert "Try it on a photo" not in page
    assert "Most reliably found" in page


def test_every_figure_has_words_numbers_and_a_valid_spec(static_site: Path, artifacts: Path) -> None:
    page = (static_site / "run-first.html").read_text(encoding="utf-8")
    figures = re.findall(r'<figure class="chart" data-name="([\w-]+)">(.*?)</figure>', page, re.DOTALL)
    names = [name for name, _ in figures]
    assert len(set(names)) == len(names)
    wanted = {"confusion-fer2013", "recall-fer2013", "reliability-fer2013", "loss", "accuracy", "classes-fer2013"}
    assert {*wanted, "search-parameters", "search-history", "search-importance"} <= set(names)
    for name, figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure), name
        assert figure.count("<tr>") >= 2, name
        spec = json.loads(re.search(r'<script type="application/json">(.*?)</script>', figure, re.DOTALL)[1])
        assert spec["width"] == "container", name
        assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/"), name
    scores = Run.load(artifacts / "first").metrics("fer2013")
    assert f"{100 * scores['accuracy']['value']:.1f}%" in page


def test_names_from_outside_cannot_break_a_page(artifacts: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts / "detector", folder / "detector")
    run = made_run(folder, "evil", heads={"fer2013": ("happy", evil)}, faces=60)
    for text in (results.page(run), results.overview([run])):
        assert "<script>alert" not in text
    site = built("static", folder, tmp_path / "site", "evil")
    for page in site.glob("*.html"):
        assert "<script>alert" not in page.read_text(encoding="utf-8")
    assert settings(site / "index.html")["runs"][0]["heads"]["fer2013"]["labels"] == ["happy", evil]


def test_theme_has_both_colours_of_the_app() -> None:
    css = theme.variables(ROOT / ".streamlit" / "config.toml")
    given = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    light, dark = given["light"]["textColor"], given["dark"]["textColor"]
    assert f"--st-text-color: light-dark({light}, {dark});" in css
    used = set(
        re.findall(r"var\((--st-[\w-]+)", assets.style() + (bundle.ROOT / "fercore/space/site/site.css").read_text())
    )
    assert used <= set(re.findall(r"(--st-[\w-]+):", css)), "a colour of the component is not given"


def test_docker_folder_is_the_whole_app(docker_folder: Path) -> None:
    files = bundle.check(docker_folder)
    for name in (
        "app.py",
        "pages/classify.py",
        "fercore/ui/style.css",
        "fercore/browser/engine.mjs",
        "static/portrait.jpg",
    ):
        assert (docker_folder / name).read_bytes() == (ROOT / name).read_bytes()
    kept = {name.split("/")[1] for name in files if name.startswith("artifacts/")}
    assert kept == {"DEFAULT", "SHIPPED", "detector", "first", "second"}
    assert (docker_folder / "artifacts/DEFAULT").read_text() == "second\n"
    assert "artifacts/first/notes.txt" not in files, "only what run.json names"
    assert Run.load(docker_folder / "artifacts" / "first").name == "first", "the hashes are right"
    assert not [
        name for name in files if "__pycache__" in name or name.startswith(("tests/", "static/ort/", "static/models/"))
    ]
    assert not re.search(
        r"^(tensorflow|keras|torch)\b", (docker_folder / "requirements-serve.txt").read_text(), re.MULTILINE
    )


def test_dockerfile_serves_what_the_readme_says_and_not_as_root(docker_folder: Path) -> None:
    head = front_matter(docker_folder)
    assert (head["sdk"], head["app_port"]) == ("docker", "8501")
    lines = (docker_folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    told = [line.partition(" ") for line in lines if line and line[0] not in "# "]
    assert [rest for word, _, rest in told if word == "USER"] == ["user"]
    assert ("EXPOSE", " ", "8501") in told
    command = json.loads(next(rest for word, _, rest in told if word == "CMD"))
    assert command == docker.command()
    assert "--server.port=8501" in command
    pinned = json.loads((assets.HERE / "onnxruntime-web.json").read_text(encoding="utf-8"))
    assert all(pinned[key]["file"] in "\n".join(lines) for key in ("code", "wasm"))
    variables = dict(item.split("=", 1) for word, _, rest in told if word == "ENV" for item in rest.split())
    assert not training_access.decide(variables, {"Host": "localhost:8501"}, None).train, (
        "visitors must not train there"
    )


def test_docker_settings_let_a_framed_page_upload(docker_folder: Path) -> None:
    ours = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    theirs = tomllib.loads((docker_folder / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert theirs["server"].pop("enableXsrfProtection") is False
    assert theirs == ours
    for text in ("[theme]\n", "[server]\nenableXsrfProtection = true\n"):
        with pytest.raises(FerError, match="needs a"):
            docker.streamlit_config(text)


def test_ensemble_brings_its_members(artifacts: Path, tmp_path: Path) -> None:
    folder = built("docker", artifacts, tmp_path / "space", "pair")
    assert (folder / "artifacts" / "SHIPPED").read_text().split() == ["pair", "second", "mine"]
    assert (folder / "artifacts" / "DEFAULT").read_text() == "pair\n"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (".streamlit/secrets.toml", "a = 1", "a secret"),
        (".env", "X=1", "a secret"),
        ("fercore/notes.py", "TOKEN = 'hf_" + "a" * 34 + "'", "a secret"),
        ("key.txt", "-----BEGIN RSA " + "PRIVATE KEY-----", "a secret"),
        ("static/face.PNG", "x", "a picture"),
        ("artifacts/fer2013.csv", "emotion,pixels", "part of a dataset"),
        ("data/expw/label.lst", "x", "part of a dataset"),
        ("requirements.txt", "keras==3.15.1\n", "a training framework"),
    ],
)
def test_what_must_not_be_published_is_refused_by_name(tmp_path: Path, name: str, content: str, line: str) -> None:
    (tmp_path / "app.py").write_text("import streamlit\n", encoding="utf-8")
    assert list(bundle.check(tmp_path)) == ["app.py"]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(FerError, match=rf"^{re.escape(name)}: .*{line}"):
        bundle.check(tmp_path)


def test_links_are_not_published(tmp_path: Path) -> None:
    (tmp_path / "hosts").symlink_to("/etc/hosts")
    with pytest.raises(FerError, match="hosts: is a link"):
        bundle.check(tmp_path)


def test_command_lists_and_uploads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "upload", lambda *_, **__: pytest.fail("uploaded without --push"))
    done = invoke("space", "ann/expressions", "--kind", "docker", "--out", tmp_path / "space")
    assert done.exit_code == 0, done.output
    *rows, total = done.stdout.splitlines()
    listed = {row.split()[1]: int(row.split()[0].replace(",", "")) for row in rows}
    there = {
        path.relative_to(tmp_path / "space").as_posix(): path.stat().st_size
        for path in (tmp_path / "space").rglob("*.*")
    }
    assert listed["fercore/cli.py"] == there["fercore/cli.py"]
    assert total.split() == [f"{sum(listed.values()):,}", "bytes", "in", str(len(listed)), "files"]
    assert done.stderr.splitlines()[-1] == "dry run: nothing was uploaded; --push does it"


def test_push_gives_the_folder_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own calls, noted instead of made."""
    library = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    noted = {}

    class Api:
        def create_repo(self, repo: str, **options: object) -> str:
            noted["create"] = (repo, options)
            return f"https://hub.example/spaces/{repo}"

        def upload_folder(self, *, folder_path: Path, **options: object) -> None:
            noted["upload"] = (sorted(path.name for path in folder_path.iterdir()), options)

    monkeypatch.setattr(library, "HfApi", Api)
    done = invoke("space", "ann/expressions", "--kind", "docker", "--push", "--private")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[-1] == "pushed: https://hub.example/spaces/ann/expressions"
    repo, options = noted["create"]
    assert (repo, options["repo_type"], options["space_sdk"], options["private"]) == (
        "ann/expressions",
        "space",
        "docker",
        True,
    )
    names, options = noted["upload"]
    assert {"Dockerfile", "README.md", "app.py", "artifacts"} <= set(names)
    assert (options["repo_id"], options["repo_type"], options["delete_patterns"]) == ("ann/expressions", "space", ["*"])


def test_payment_required_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from made_hub import TOKEN, running

    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    with running() as (made, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        made.refuses["/api/repos/create"] = 402
        done = invoke("space", "ann/expressions", "--kind", "docker", "--push")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        "error: ann/expressions: the Hub hosts Docker Spaces for paying accounts only (402); take --kind static, which is "
        "free, or upgrade the account at https://huggingface.co/pricing"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["expressions"], "error: expressions: expected USER/NAME, as on the Hub"),
        (["ann/expressions", "--run", "nothing"], "error: nothing: no such run"),
        (["ann/expressions", "--kind", "gradio"], "error: Invalid value for '--kind'"),
        (["ann/expressions", "--out", str(ROOT / "docs")], f"error: {ROOT / 'docs'}: is there already and not empty"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], line: str) -> None:
    done = invoke("space", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(line)


def test_outside_a_checkout_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"has no app\.py, pages, .*git clone"):
        space.build("static", tmp_path / "site", "ann/expressions", root=tmp_path)


def test_nothing_shipped_asks_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_ARTIFACTS", str(tmp_path))
    with pytest.raises(FerError, match="SHIPPED: missing or empty; name the runs with --run"):
        space.chosen()
