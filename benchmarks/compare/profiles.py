"""Profiles: data sets, methods and settings where the command line does not say otherwise."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.compare.cells import HELD_OUT, OFFICIAL, Settings
from benchmarks.compare.tasks import Task
from benchmarks.data.sources import BUNDLED, DATASETS, Source, load


class Profile(NamedTuple):
    """Data sets, methods and settings of a comparison.

    Attributes
    ----------
    datasets : tuple of str
        Names of the data sets.
    methods : callable
        Names of the methods for a task.
    settings : callable
        Settings on a data set.
    alone : bool
        Whether methods run one after another, each in a process of its own whose memory is recorded.
    """

    datasets: tuple[str, ...]
    methods: Callable[[Task], list[str]]
    settings: Callable[[Source], Settings]
    alone: bool = False


def _default(source: Source) -> Settings:
    return Settings(OFFICIAL, 5) if source.task == "retrieval" else Settings(3, 2)


def _paper(source: Source) -> Settings:
    """Official splits, with other folds of the search and other seeds in each repeat; else ten folds."""
    return Settings(OFFICIAL, 5, search=True) if _has_official_split(source) else Settings(10, 1, search=True)


def _full(source: Source) -> Settings:
    repeats = 5 if source.task == "retrieval" else 1
    return Settings(OFFICIAL if _has_official_split(source) else 5, repeats, search=True)


def _large(source: Source) -> Settings:
    return Settings(OFFICIAL if _has_official_split(source) else HELD_OUT, 1)


def _has_official_split(source: Source) -> bool:
    return load(source).n_train is not None


def _up_to(tier: str) -> Callable[[Task], list[str]]:
    return lambda task: task.up_to(tier)


def _linear(task: Task) -> list[str]:
    """Names of the plain predictor, and of the linear metric before it."""
    return [task.predictor, f"RAMLLinear + {task.predictor}"]


_LONG = ("bibtex", "imdb")  # few methods take sparse samples, fewer take so many, and few so many labels

PROFILES = {
    "default": Profile(tuple(BUNDLED), _up_to("quick"), _default),
    "paper": Profile(("emotions", "flags", "Natural_Scene"), _up_to("paper"), _paper),
    "full": Profile(tuple(name for name in DATASETS if name not in _LONG), _up_to("full"), _full),
    "large": Profile(("tmc2007-500", *_LONG), _linear, _large, alone=True),
}
