"""The package as a whole: what importing it costs, what it exports, which way its rooms look, what is said of it."""

import ast
import pickle
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from inspect import getmembers, isclass, isfunction, signature
from pathlib import Path

import numpy as np
import pytest
from numpydoc.validate import validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skrelmetric
from skrelmetric import (
    AAKNN,
    MLkNN,
    MultilabelThresholdClassifier,
    RAMLLinear,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)

PACKAGE = Path(skrelmetric.__file__).parent
ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Private floors, from the ground up: each imports those before it.
FLOORS = ["_interop", "_data", "_search", "_alignment", "_training", "_hraml", "_drml", "_relational", "_onnx"]


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_import_leaves_torch_until_a_torch_estimator_is_touched_and_matplotlib_alone():
    code = """
import sys, skrelmetric
from skrelmetric import MLkNN, AAKNN, RAMLLinear, MultilabelThresholdClassifier, datasets, mahalanobis, metrics, scorers
from skrelmetric import MultilabelVotingClassifier, MultioutputVotingRegressor
from skrelmetric import SoftNeighborsClassifier, SoftNeighborsRegressor
assert skrelmetric.chunks.Chunks
assert skrelmetric.callbacks.EpochLog
assert skrelmetric.plotting.plot_embedding
assert "torch" not in sys.modules
assert "matplotlib" not in sys.modules
skrelmetric.HRAMLTransformer
assert "torch" in sys.modules
assert skrelmetric.distributed.shards
assert "matplotlib" not in sys.modules
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_neighbours_behind_a_linear_metric_predict_without_torch(rng, tmp_path):
    X = rng.standard_normal((60, 4))
    Y = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(int)  # label sets that are distributions, too
    soft = [SoftNeighborsClassifier(), SoftNeighborsRegressor()]
    last = [MLkNN(), AAKNN(), *soft, MultilabelThresholdClassifier(MLkNN())]
    models = [make_pipeline(StandardScaler(), RAMLLinear(), each).fit(X, Y) for each in last]
    expected = [model.predict(X) for model in models]
    path = tmp_path / "fitted"
    path.write_bytes(pickle.dumps((models, X, Y, expected)))
    code = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    models, X, Y, expected = pickle.load(file)
for model, predictions in zip(models, expected, strict=True):
    np.testing.assert_array_equal(model.predict(X), predictions)
    model[-1].fit(X, Y)
metric, pairs = models[0][1], X.reshape(-1, 2, 4)
metric.get_feature_names_out(), metric.get_mahalanobis_matrix(), metric.pair_score(pairs)
pickle.loads(pickle.dumps(metric.get_metric()))(*pairs[0])
assert "torch" not in sys.modules
"""
    result = run(code, path)
    assert result.returncode == 0, result.stderr


def test_public_names():
    assert sorted(skrelmetric.__all__) == [
        "AAKNN",
        "DRMLTransformer",
        "HRAMLTransformer",
        "MLkNN",
        "MultilabelThresholdClassifier",
        "MultilabelVotingClassifier",
        "MultioutputVotingRegressor",
        "RAMLLinear",
        "RelationalNeighborsClassifier",
        "RelationalNeighborsRegressor",
        "SoftNeighborsClassifier",
        "SoftNeighborsRegressor",
        "callbacks",
        "chunks",
        "datasets",
        "distributed",
        "encoders",
        "losses",
        "mahalanobis",
        "metrics",
        "onnx",
        "plotting",
        "relations",
        "scorers",
        "trunks",
    ]
    assert set(dir(skrelmetric)) == {*skrelmetric.__all__, "__version__"}
    for name in skrelmetric.__all__:
        assert getattr(skrelmetric, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'HRAMLinear'"):
        skrelmetric.HRAMLinear  # noqa: B018


def test_submodules_export_what_they_have():
    for name in (name for name in skrelmetric.__all__ if name[0].islower()):
        module = getattr(skrelmetric, name)
        assert all(hasattr(module, public) for public in module.__all__)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    """Modules of the package that a file imports from, wherever in it, without the package's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "skrelmetric":
            _, *parts = node.module.split(".")
            yield from [".".join(parts)] if parts else (alias.name for alias in node.names)


def imported_rooms(path):
    """Rooms that a file imports from; the private modules of a public package are its own."""
    for module in imported_modules(path):
        room, *within = module.split(".")
        if room != room_of(path):
            assert not any(part.startswith("_") for part in within), f"{path} looks into {module}"
            yield room


def test_imports_point_one_way():
    rooms = {}
    for path in PACKAGE.rglob("*.py"):
        rooms.setdefault(room_of(path), set()).update(imported_rooms(path))
    del rooms["__init__"]  # it names the doors, and imports them when they are touched
    tuple(TopologicalSorter(rooms).static_order())  # raises CycleError where rooms import one another
    for floor, below in zip(FLOORS, range(len(FLOORS)), strict=True):
        assert {room for room in rooms[floor] if room.startswith("_")} <= set(FLOORS[:below])
    assert {room for room in rooms if room.startswith("_")} == set(FLOORS)


def test_no_files_import_one_another():
    files = {}
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        files[module] = set(imported_modules(path))
    del files["__init__"]
    tuple(TopologicalSorter(files).static_order())


def test_the_package_never_imports_its_benchmarks():
    assert not any("benchmarks" in path.read_text() for path in PACKAGE.rglob("*.py"))


def public_objects():
    for name in (name for name in skrelmetric.__all__ if name[0].isupper()):
        yield f"skrelmetric.{name}"
        ours = [vars(c) for c in getattr(skrelmetric, name).__mro__ if c.__module__.startswith("skrelmetric")]
        methods = {m: value for members in ours for m, value in members.items() if m[0] != "_" and callable(value)}
        yield from (f"skrelmetric.{name}.{method}" for method in methods)
    for room in ("callbacks", "datasets", "encoders", "losses", "metrics", "plotting", "relations", "trunks"):
        module = getattr(skrelmetric, room)
        callables = [name for name in module.__all__ if callable(getattr(module, name)) and name != "LossSpec"]
        yield from (f"skrelmetric.{room}.{name}" for name in callables)


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_docstrings_follow_numpydoc(name):
    # Left out: sections that not every object needs (examples, see also, extended summary) and formatting taste.
    optional = {"EX01", "SA01", "ES01", "SA04", "GL01", "RT02", "RT03", "GL08" if name.endswith("Relation") else ""}
    errors = [error for error in validate(name)["errors"] if error[0] not in optional]
    assert not errors


def test_py_typed_is_shipped():
    assert (PACKAGE / "py.typed").exists()


def text_of(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def test_changes_and_citation_are_of_this_version():
    headings = re.findall(r"^## ([\d.]+)( \(unreleased\))?$", text_of("CHANGELOG.md"), re.MULTILINE)
    newest = next(version for version, unreleased in headings if not unreleased)
    assert PROJECT["version"].startswith(f"{newest}.")
    numbers = [[int(number) for number in version.split(".")] for version, _ in headings]
    assert numbers == sorted(numbers, reverse=True)
    assert not any(unreleased for _, unreleased in headings[1:])
    assert re.findall(r"^version: (.+)$", text_of("CITATION.cff"), re.MULTILINE) == [PROJECT["version"]]


def listed_in_the_reference():
    module = None
    for line in text_of("docs", "reference", "index.rst").splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.fullmatch(r"   (\w+)", line):
            yield f"{module}.{found[1]}"


def test_the_reference_lists_every_public_name():
    estimators = [f"skrelmetric.{name}" for name in skrelmetric.__all__ if name[0].isupper()]
    rooms = [name for name in skrelmetric.__all__ if name[0].islower()]
    names = [f"skrelmetric.{room}.{name}" for room in rooms for name in getattr(skrelmetric, room).__all__]
    assert sorted(listed_in_the_reference()) == sorted(estimators + names)


def test_extras_that_are_named_exist_and_all_are_explained():
    extras = set(PROJECT["optional-dependencies"])
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    lists = [names.split(",") for text in texts for names in re.findall(r"(?:skrelmetric|\.)\[([a-z,]+)\]", text)]
    assert {name for names in lists for name in names} <= extras
    rows = re.findall(r"^\| (`.*?) \|", text_of("docs", "install.md"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(extras)


def test_signatures_are_short():
    doors = [getattr(skrelmetric, name) for name in skrelmetric.__all__]
    public = doors + [getattr(door, name) for door in doors for name in getattr(door, "__all__", ())]
    functions = [each for each in public if isfunction(each)]
    functions += [method for each in public if isclass(each) for _, method in getmembers(each, isfunction)]
    own = [each for each in functions if each.__module__.startswith("skrelmetric")]
    assert len(own) > 200
    assert [each.__qualname__ for each in own if "numpy._typing" in str(signature(each))] == []
