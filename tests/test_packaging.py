"""What is installed: quick to import, complete, and the same everywhere it is described."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import emoviews

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = ("torch", "pandas", "transformers", "sklearn", "scipy", "numpy", "matplotlib")


@pytest.mark.parametrize("module", ["emoviews", "emoviews.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_python_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "emoviews", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == emoviews.__version__


@pytest.mark.parametrize("name", emoviews.__all__)
def test_a_public_name_is_the_one_of_its_module(name: str) -> None:
    value = getattr(emoviews, name)
    assert value.__name__ == name
    assert value is getattr(importlib.import_module(value.__module__), name)
    assert value.__doc__


@pytest.mark.parametrize("name", emoviews.__all__)
def test_a_path_may_be_a_string(name: str) -> None:
    for parameter in inspect.signature(getattr(emoviews, name)).parameters.values():
        kinds = str(parameter.annotation)
        assert "Path" not in kinds or "str" in kinds.split(" | "), parameter


def test_public_names_are_known_to_type_checkers_and_completion() -> None:
    source = Path(emoviews.__file__).read_text(encoding="utf-8")
    checked = source.partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    imported = {n.strip() for names in re.findall(r"import (.*)", checked) for n in names.split(",")}
    assert imported == set(emoviews.__all__) == set(emoviews._HOMES)
    assert set(emoviews.__all__) <= set(dir(emoviews))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'emoviews' has no attribute 'recognise'; it has EmotionRecognizer, "
    ):
        emoviews.recognise


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "src"
    files = {p.relative_to(source).as_posix() for p in (source / "emoviews").rglob("*") if p.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files
    assert "emoviews/py.typed" in held
    assert any(re.fullmatch(r"emoviews/report/\w[\w.]*\.jinja", name) for name in held)


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    information = f"emoviews-{emoviews.__version__}.dist-info"
    metadata = wheel.read(f"{information}/METADATA").decode()
    assert f"\nVersion: {emoviews.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE)) == set(
        PROJECT["project"]["optional-dependencies"]
    )
    assert "\nLicense-Expression: MIT\n" in metadata
    assert f"{information}/licenses/LICENSE" in wheel.namelist()
    assert "emoviews = emoviews.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == emoviews.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert emoviews.__version__ in changes


def test_every_extra_that_an_error_names_exists() -> None:
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"extra=\"(\w+)\"|emoviews\[(\w+)\]", source))
    names = {first or second for first, second in named} - {""}
    assert names
    assert names <= set(PROJECT["project"]["optional-dependencies"])


def test_the_constraint_is_a_torch_that_the_package_allows() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8").splitlines()
    (constraint,) = (Requirement(line) for line in lines if line and not line.startswith("#"))
    (allowed,) = (r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == "torch")
    (pin,) = constraint.specifier
    assert constraint.name == "torch"
    assert pin.operator == "=="
    assert pin.version in allowed.specifier
