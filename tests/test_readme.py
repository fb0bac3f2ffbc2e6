"""What the documentation shows runs as it is shown, and shows all there is."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub_stand_in import Hub, hub
from tests.pages import served

from emoviews import cli
from emoviews.app.archives import Limits
from emoviews.app.judging import judge
from emoviews.bundles import load_recognizer
from emoviews.table import read_table
from emoviews.views import VIEWS, ViewRequest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

DOCS = ROOT / "docs"
PAGES = [
    DOCS / name for name in ("index.md", "my-recordings.md", "reproduce.md", "few-labels.md", "pages.md", "share.md")
]
"""Pages of the documentation that are read from the beginning, each in a folder of its own."""

EVERY_PAGE = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

SERVES = re.compile(r"emoviews (app|label) (?!.*--merge).*\n")
"""A command that runs until it is stopped: it is shown by itself, and run until its page answers."""
NEEDS_NETWORK = re.compile(r"^(git clone|make|pip install)\b", re.MULTILINE)
EXAMPLES = {"views": "zero_crossings", "corpora": "my_corpus", "encoders": "mean_pool", "losses": "pairwise_cosine"}
ATTRIBUTES = {"views": "VIEW", "corpora": "CORPUS", "encoders": "ENCODER", "losses": "LOSS"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def environment(folder: Path, server: Hub | None = None) -> dict[str, str]:
    """This Python's `emoviews` on the path, and nothing of the user's; the stand-in, or no hub at all."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "HF_ENDPOINT": server.url if server else "http://127.0.0.1:9",
        "HF_HOME": str(folder / "cache" / "hub"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def run_block(language: str, text: str, folder: Path, server: Hub | None = None) -> None:
    """Run a block as it is shown, with the commit that was pushed before in place of COMMIT."""
    if server and "OWNER/NAME" in server.branches:
        text = text.replace("COMMIT", server.branches["OWNER/NAME"]["main"])
    if SERVES.fullmatch(text):
        pytest.importorskip("gradio")
        with served(*shlex.split(text)[1:], folder=folder) as (url, _):
            with urllib.request.urlopen(url) as page:
                assert b"<html" in page.read()
            if text.startswith("emoviews label"):
                give_labels(url)
        return
    assert not SERVES.search(text), f"This runs until it is stopped; show it in a block of its own:\n{text}"
    command = ["bash", "-eu", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment(folder, server), capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\nleft with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def give_labels(url: str) -> None:
    """Somebody at the page of `emoviews label` labels two recordings."""
    for _ in range(2):
        with urllib.request.urlopen(f"{url}state?annotator=Ann") as answered:
            state = json.load(answered)
        sent = {"annotator": "Ann", "expected": state["expected"], "recording": state["current"]}
        sent |= {"action": "label", "emotion": state["labels"][0]}
        content = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}answer", json.dumps(sent).encode(), content)) as kept:
            assert json.load(kept)["done"] == state["done"] + 1


def commands() -> list[str]:
    return [name for name in cli.app if not name.startswith("-")]


def shown(page: Path = README) -> list[tuple[str, str]]:
    """The blocks of a page that a reader runs after the installation, in order."""
    return [b for b in blocks(page) if b[0] in ("bash", "python") and not NEEDS_NETWORK.search(b[1])]


def test_every_block_of_the_readme_runs_in_sequence(tmp_path: Path) -> None:
    for language, text in shown():
        if text != "emoviews demo\n":
            run_block(language, text, tmp_path)
    assert len(list(tmp_path.glob("checkpoints/*/emoviews.json"))) == 3
    assert (tmp_path / "run" / "results.csv").is_file()
    assert "<html" in (tmp_path / "paper" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_in_sequence(page: Path, tmp_path: Path) -> None:
    assert len(shown(page)) >= 2
    with hub() as server:
        for language, text in shown(page):
            run_block(language, text, tmp_path, server)
    if page.name == "pages.md":  # what it describes, its recogniser and its labels show
        recording = next((tmp_path / "recordings").rglob("*.wav"))
        assert len(judge(load_recognizer(tmp_path / "model"), recording, Limits()).alone) >= 2
        before, after = (read_table(tmp_path / name)["emotion"] != "" for name in ("some.csv", "labelled.csv"))
        assert after.sum() == before.sum() + 2
    assert (page.name != "share.md") == (not server.branches)


# Commands that are mentioned in a sentence, or need data or hours that a test has not


def mentioned(page: Path) -> Iterator[str]:
    """Every command that no block runs: in a sentence, indented, or in a block that installs."""
    text = page.read_text(encoding="utf-8")
    begins = re.compile(r"(?:\.venv/bin/)?(?:emoviews [a-z]|(?:git|hf|make|pip|pre-commit|python|tensorboard) )")
    installs = [block for language, block in blocks(page) if language == "bash" and NEEDS_NETWORK.search(block)]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*(?:(?<=\\)\n.*)*)$", prose, re.MULTILINE)
    lines = [line for block in (*installs, *indented) for line in re.split(r"(?<!\\)\n", block)]
    spans = [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^    .*", "", prose, flags=re.MULTILINE))
    ]
    for command in [*lines, *spans]:
        if begins.match(command):
            whole = command.replace("\\\n    ", "")  # as bash joins lines; what else is indented stays
            yield re.sub(r"\[(--[^\]]*)\]", r"\1", whole)  # [--option] may be left out


def takes(words: list[str]) -> None:
    """Whether the command line takes the words of a command; `a|b` stands for either, `…` for what every command needs."""
    for chosen in itertools.product(*(word.split("|") if re.fullmatch(r"[\w|]+", word) else [word] for word in words)):
        given = [more for word in chosen for more in (["TABLE", "--out", "OUT"] if word == "…" else [word])]
        if len(given) == 1:
            assert given[0] in commands(), given
            continue
        _, bound, _ = cli.app.parse_args(given, print_error=False, exit_on_error=False)
        for view in bound.arguments.get("views", ()):
            assert ViewRequest.parse(view).name in {*VIEWS.names(), EXAMPLES["views"]}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_command_that_is_not_run_is_one_that_there_is(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for command in mentioned(page):
        program, *words = shlex.split(command.removeprefix(".venv/bin/"), comments=True)
        if program == "emoviews":
            takes(words)
        elif program == "make":
            assert {word for word in words if "=" not in word} <= targets, command
        elif program == "pip":
            assert set(re.findall(r"\w+", ",".join(re.findall(r"\[(.*?)\]", command)))) <= extras, command
        elif program == "python":
            module = words[0] == "-m"
            assert importlib.util.find_spec(words[1]) if module else (ROOT / words[0]).is_file(), command
        else:
            assert shutil.which(program, path=environment(ROOT)["PATH"]), command
    for script in re.findall(r"benchmarks/\w+\.py", page.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), script
    if page not in (README, *PAGES):  # there, every block is run
        assert not any(language in ("bash", "text") for language, _ in blocks(page))


PARSE = """
import argparse, json, runpy, sys

class Parsed(Exception):
    pass

def parse(*given):
    taken(*given)
    raise Parsed

taken, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, parse
sys.path.insert(0, "benchmarks")
for sys.argv in json.load(sys.stdin):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Parsed:
        continue
    raise SystemExit(f"{sys.argv} was not parsed")
"""
"""Starts scripts up to where they have understood their arguments."""


def test_benchmarks_take_the_options_that_are_shown() -> None:
    shown = [shlex.split(c)[1:] for page in EVERY_PAGE for c in mentioned(page) if c.startswith("python benchmarks/")]
    assert len(shown) >= 5
    command = [sys.executable, "-c", PARSE]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(ROOT), input=json.dumps(shown), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_site_has_every_page_and_every_module() -> None:
    """mkdocs itself is not asked here: `make docs` builds the site."""
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages == set(re.findall(r": (\S+\.md)$", site, re.MULTILINE))
    for name in re.findall(r"^::: (\S+)$", "".join(p.read_text() for p in (DOCS / "api").glob("*.md")), re.MULTILINE):
        assert importlib.util.find_spec(name) is not None, name


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    run_block("bash", "emoviews demo\n", tmp_path)
    assert "<html" in (tmp_path / "emoviews-demo" / "run" / "report.html").read_text(encoding="utf-8")


def test_every_command_is_shown_and_none_that_there_is_not() -> None:
    named = re.findall(
        r"^emoviews (\S+)", "\n".join(text for language, text in shown() if language == "bash"), re.MULTILINE
    )
    assert set(named) == set(commands())


@pytest.mark.parametrize("name", commands())
def test_help_describes_every_parameter(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # wide enough that no name is broken into lines
    cli.main([name, "--help"])  # leaves with SystemExit where it fails
    printed = capsys.readouterr().out
    assert f"emoviews {name}" in printed
    parameters = [a for a in cli.app[name].assemble_argument_collection(parse_docstring=True) if a.parse and a.show]
    assert parameters
    for parameter in parameters:
        assert parameter.parameter.help, f"{name}: {parameter.name} is not described."
        assert parameter.name.lower() in printed.lower()


def test_exit_codes_are_those_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path\nnothing.wav\n")
    for arguments, code in ((["list", "losses"], 0), (["extract", "table.csv", "--views", "mfcc"], 1), (["list"], 2)):
        command = [str(Path(sys.executable).with_name("emoviews")), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", [page for page in EVERY_PAGE if page.parent.name != "api"], ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    assert links
    for target, heading in links:
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_rooms_are_the_modules_there_are() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8").partition("## The rooms of the house")[2].partition("## ")[0]
    rooms = set(re.findall(r"`(\w+)/?`", "".join(re.findall(r"^\|([^|]*)\|", text, re.MULTILINE))))
    package = ROOT / "src" / "emoviews"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert rooms == modules - {"__init__"}


# The examples of docs/architecture.md


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is a package of a third party: the examples, registered by entry points."""
    folder = tmp_path_factory.mktemp("examples")
    text = ARCHITECTURE.read_text(encoding="utf-8")
    entries = []
    for family, name in EXAMPLES.items():
        (code,) = re.findall(
            rf"`src/emoviews/{family}/{name}\.py`:\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        )
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        entries.append(f"[emoviews.{family}]\n{name} = {name}:{ATTRIBUTES[family]}\n")
    information = folder / "emoviews_examples-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: emoviews-examples\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("\n".join(entries))
    return folder


def outcomes(printed: str) -> Iterator[tuple[str, str]]:
    """Test and outcome, from pytest's verbose lines."""
    yield from re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)", printed, re.MULTILINE)


def test_the_examples_keep_their_contracts(examples: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "contracts"), "-v", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "-k", " or ".join(EXAMPLES.values())]
    env = {**environment(examples), "PYTHONPATH": str(examples), "COLUMNS": "400"}
    env.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = list(outcomes(done.stdout))
    assert {outcome for _, outcome in found} == {"PASSED"}
    for name in EXAMPLES.values():
        assert sum(name in test for test, _ in found) >= 5, f"The contract tests did not run {name}."


def test_the_example_corpus_reads_what_it_says(examples: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("my_corpus", examples / "my_corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("anna/anna_happy_03.wav", "ben/ben_sad_01.wav", "ben/noise.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    parsed = module.CORPUS.parse(tmp_path)
    assert parsed.table[["speaker", "emotion"]].to_numpy().tolist() == [["anna", "happy"], ["ben", "sad"]]
    assert parsed.warnings == ("1 of 3 files are named otherwise and left out.",)
