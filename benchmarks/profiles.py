"""What is compared on which data sets, and how, where the command line does not say otherwise."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.datasets import BUNDLED, DATASETS, Source
from benchmarks.experiment import OFFICIAL, Settings

_WITH_OFFICIAL_SPLIT = ("multilabel", "retrieval")


class Profile(NamedTuple):
    """Data sets, the tier of methods, and the settings on each data set."""

    datasets: tuple[str, ...]
    tier: str
    settings: Callable[[Source], Settings]


def _default(source: Source) -> Settings:
    return Settings(OFFICIAL, 5) if source.task == "retrieval" else Settings(3, 2)


def _paper(source: Source) -> Settings:
    """Official splits, with other folds of the search and other seeds in each repeat; ten folds of distributions."""
    return Settings(OFFICIAL, 5, search=True) if source.task == "multilabel" else Settings(10, 1, search=True)


def _full(source: Source) -> Settings:
    repeats = 5 if source.task == "retrieval" else 1
    return Settings(OFFICIAL if source.task in _WITH_OFFICIAL_SPLIT else 5, repeats, search=True)


PROFILES = {
    "default": Profile(tuple(BUNDLED), "quick", _default),
    "paper": Profile(("emotions", "flags", "Natural_Scene"), "paper", _paper),
    "full": Profile(tuple(DATASETS), "full", _full),
}
