"""The one-way flow holds: a module of emoviews imports only from what stands before it.

Every import statement counts, those inside functions and under `TYPE_CHECKING` too, and so does `importlib.import_module`
with a literal name. A package's files count as the package. The package's own `__init__` lies outside: it only maps public
names to modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import emoviews

ORDER = [
    *["errors", "types", "registry", "progress", "seeds", "configs", "processes"],
    *["audio", "metrics", "statistics", "table", "doubts", "corpora", "splits", "views", "store"],
    *["extraction", "batching", "checkpoints", "augmentation", "encoders", "heads", "presets", "losses"],
    *[
        "pretraining",
        "finetuning",
        "ensembles",
        "alignment",
        "jobs",
        "workspace",
        "runners",
        "engine",
        "estimates",
        "results",
        "executors",
        "experiments",
        "report",
        "fusion",
        "propagation",
        "calibration",
        "students",
        "semisupervised",
        "labelled_map",
        "novelty",
    ],
    *[
        "recognition",
        "expectation",
        "recognizer",
        "card",
        "bundles",
        "predicting",
        "answers",
        "inference",
        "exporting",
        "hub",
        "tracking",
    ],
    *["annotation", "verification", "labelling", "cluster", "app", "terminal", "cli", "__main__"],
]
ROOT = Path(emoviews.__file__).parent


def imported(source: str, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that the source of `module` imports, relative names resolved."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What the source of `module` ("emoviews.views.mfcc") imports and may not, one sentence each."""
    part = module.split(".")[1]
    if part not in ORDER:
        return [f"{module}: {part!r} has no place in the order; give it one in {Path(__file__).name}."]
    found = []
    for line, name in imported(source, module, is_package):
        first, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if first != "emoviews" or other == "__version__":
            continue
        if other not in ORDER:
            found.append(f"{module}, line {line}: imports {name!r}, and {other!r} has no place in the order.")
        elif ORDER.index(other) > ORDER.index(part):
            found.append(f"{module}, line {line}: imports {name!r}, but {part!r} stands before {other!r}.")
    return found


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    names = ["emoviews", *path.relative_to(ROOT).with_suffix("").parts]
    is_package = names[-1] == "__init__"
    module = ".".join(names[:-1] if is_package else names)
    assert violations(path.read_text(encoding="utf-8"), module, is_package) == []


def test_the_modules_were_found():
    assert {"errors.py", "views", "corpora"} <= {path.relative_to(ROOT).parts[0] for path in MODULES}


@pytest.mark.parametrize(
    "source",
    [
        "from emoviews.store import Store",
        "import emoviews.store",
        "import emoviews.store as s",
        "from emoviews import store",
        "from emoviews import errors, store",
        "from ..store import Store",
        "from .. import store",
        "def f():\n    from emoviews.store import Store",
        "if TYPE_CHECKING:\n    from emoviews.store import Store",
        "importlib.import_module('emoviews.store')",
        "from emoviews.pretraining.sub import x",
    ],
)
def test_an_import_from_later_on_is_found(source):
    (sentence,) = violations(source, "emoviews.views.mfcc")
    assert "'views' stands before" in sentence
    assert violations(source, "emoviews.experiments.sparse") == []


@pytest.mark.parametrize(
    "source",
    [
        "from emoviews.views import View",
        "from . import View",
        "from .mel_spectrogram import VIEW",
        "from ..errors import UsageError",
        "from emoviews import __version__",
        "import numpy\nfrom emoviews_extra import store",
        "importlib.import_module(f'{package}.{name}')",
    ],
)
def test_imports_from_before_and_from_the_own_package_are_fine(source):
    assert violations(source, "emoviews.views.mfcc") == []


def test_relative_imports_of_a_package_itself():
    assert violations("from .mfcc import VIEW", "emoviews.views", is_package=True) == []
    (sentence,) = violations("from ..store import Store", "emoviews.views", is_package=True)
    assert "'emoviews.store.Store'" in sentence


@pytest.mark.parametrize("source", ["import emoviews", "from emoviews.new import x"])
def test_names_outside_the_order_are_loud(source):
    (sentence,) = violations(source, "emoviews.cli")
    assert "has no place in the order" in sentence
    (sentence,) = violations("", "emoviews.new.sub")
    assert "'new' has no place in the order" in sentence
