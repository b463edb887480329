"""Floors of the benchmarks: which folder may import which, and what of the package they may use."""

import ast
from importlib import import_module
from pathlib import Path

import benchmarks

ROOT = Path(benchmarks.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

FLOORS = {"data": 0, "rivals": 1, "compare": 2, "show": 3, "speed": 3}
"""Folders from the ground up; those of one floor stand beside each other and do not meet."""

PUBLIC = {
    *("relations", "encoders", "losses", "metrics", "scorers", "datasets", "plotting"),
    *("callbacks", "chunks", "distributed", "mahalanobis", "trunks"),
    *("linear", "deep", "drml", "neighbors", "voting"),
}


def imported(path, package):
    """Pairs of a module of a package and the name that is imported from it, None for the module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == package)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            yield from ((node.module, alias.name) for alias in node.names)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} has a relative import"


def room(parts):
    """Folder of a module of the benchmarks; None for what stands above all folders."""
    return next((part for part in parts if part in FLOORS), None)


def test_every_folder_has_a_floor():
    assert {path.name for path in ROOT.iterdir() if any(path.glob("*.py"))} == set(FLOORS)


def test_imports_point_down():
    for path in FILES:
        own = room(path.relative_to(ROOT).parts)
        for module, name in imported(path, "benchmarks"):
            if own is None or name is None:
                continue
            other = room([*module.split(".")[1:], name])
            assert other is not None, f"{path} looks up to {module}"
            assert other == own or FLOORS[other] < FLOORS[own], f"{path} imports {module}"


def test_the_package_is_used_by_its_public_names():
    for path in FILES:
        assert "skrelmetric._" not in path.read_text(), f"{path} looks into the package"
        for module, name in imported(path, "skrelmetric"):
            inner = module.partition(".")[2]
            assert inner in {"", *PUBLIC}, f"{path} imports {module}"
            assert name is None or name in import_module(module).__all__, f"{path} imports {name} of {module}"
