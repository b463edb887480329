"""What is compared on which data sets, and how, where the command line does not say otherwise."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.datasets import BUNDLED, DATASETS, Source
from benchmarks.experiment import OFFICIAL, Settings


class Profile(NamedTuple):
    """Data sets, the tier of methods, and the settings on each data set."""

    datasets: tuple[str, ...]
    tier: str
    settings: Callable[[Source], Settings]


def _default(source: Source) -> Settings:
    return Settings(OFFICIAL, 5) if source.task == "retrieval" else Settings(3, 2)


def _paper(source: Source) -> Settings:
    """Official splits, with other folds of the search and other seeds in each repeat; else ten folds."""
    return Settings(OFFICIAL, 5, search=True) if _has_official_split(source) else Settings(10, 1, search=True)


def _full(source: Source) -> Settings:
    repeats = 5 if source.task == "retrieval" else 1
    return Settings(OFFICIAL if _has_official_split(source) else 5, repeats, search=True)


def _has_official_split(source: Source) -> bool:
    return source.path is None and source.task in ("multilabel", "retrieval")


PROFILES = {
    "default": Profile(tuple(BUNDLED), "quick", _default),
    "paper": Profile(("emotions", "flags", "Natural_Scene"), "paper", _paper),
    "full": Profile(tuple(DATASETS), "full", _full),
}
