"""The package as a whole: what importing it costs, what it exports, which way its rooms look."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skrelmetric
import skrelmetric.plotting

PACKAGE = Path(skrelmetric.__file__).parent

# A module imports from lower layers only.
LAYERS = {
    "_sklearn": 0,
    "_dask": 0,
    "_exclusive": 0,
    "chunks": 0,
    "distributed": 0,
    "_torch": 1,
    "_search": 1,
    "_tensor_search": 2,
    "_retrieval": 2,
    "_arrays": 2,
    "_samples": 2,
    "_targets": 3,
    "metrics": 3,
    "relations": 4,
    "mahalanobis": 1,
    "datasets": 1,
    "scorers": 4,
    "_inputs": 4,
    "encoders": 2,
    "training": 3,
    "collection": 1,
    "encoding": 5,
    "survey": 5,
    "parts": 6,
    "shares": 6,
    "_reading": 6,
    "alignment": 7,
    "losses": 2,
    "relation_loss": 5,
    "relational": 2,
    "supervision": 5,
    "discrimination": 6,
    "heads": 8,
    "objectives": 9,
    "objectives_in_parts": 10,
    "pairs": 8,
    "linear": 9,
    "_modules": 10,
    "embedding_training": 10,
    "deep": 11,
    "drml": 11,
    "neighbors": 3,
    "plotting": 5,
    "voting": 3,
    "__init__": 12,
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_leaves_torch_until_a_torch_estimator_is_touched_and_matplotlib_alone():
    code = """
import sys, skrelmetric
from skrelmetric import MLkNN, AAKNN, MultilabelVotingClassifier, MultioutputVotingRegressor, metrics, scorers, datasets
assert "torch" not in sys.modules
skrelmetric.RAMLLinear
assert "torch" in sys.modules
import skrelmetric.plotting
assert "matplotlib" not in sys.modules
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_public_names():
    assert sorted(skrelmetric.__all__) == [
        "AAKNN",
        "DRMLTransformer",
        "HRAMLTransformer",
        "MLkNN",
        "MultilabelVotingClassifier",
        "MultioutputVotingRegressor",
        "RAMLLinear",
        "datasets",
        "encoders",
        "losses",
        "metrics",
        "relations",
        "scorers",
    ]
    for name in skrelmetric.__all__:
        assert name in dir(skrelmetric)
        assert getattr(skrelmetric, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'HRAMLinear'"):
        skrelmetric.HRAMLinear  # noqa: B018


def test_submodules_export_what_they_have():
    for name in ("datasets", "encoders", "losses", "metrics", "plotting", "relations", "scorers"):
        module = getattr(skrelmetric, name)
        assert all(hasattr(module, public) for public in module.__all__)


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "skrelmetric":
            parts = node.module.split(".")
            assert not any(part.startswith("_") for part in parts[2:]) or parts[1] == path.parent.name, (
                f"{path} looks into {node.module}"
            )
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_imports_point_upward_only():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported in imported_rooms(path):
            assert (imported == room and path.parent.name == room) or LAYERS[imported] < LAYERS[room], (
                f"{path} imports {imported}"
            )


def test_the_package_never_imports_its_benchmarks():
    assert not any("benchmarks" in path.read_text() for path in PACKAGE.rglob("*.py"))


def public_objects():
    for name in (name for name in skrelmetric.__all__ if name[0].isupper()):
        yield f"skrelmetric.{name}"
        ours = [vars(c) for c in getattr(skrelmetric, name).__mro__ if c.__module__.startswith("skrelmetric")]
        methods = {m: value for members in ours for m, value in members.items() if m[0] != "_" and callable(value)}
        yield from (f"skrelmetric.{name}.{method}" for method in methods)
    for room in ("datasets", "encoders", "losses", "metrics", "plotting", "relations"):
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
