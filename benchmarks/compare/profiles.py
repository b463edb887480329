"""Profiles: data sets, methods and settings where the command line does not say otherwise."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.compare.cells import HELD_OUT, OFFICIAL, Settings
from benchmarks.compare.tasks import Task
from benchmarks.data.sources import BUNDLED, DATASETS, OF_UNSEEN_CLASSES, Source
from skrelmetric.datasets import MULAN_NAMES


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
    if source.task in OF_UNSEEN_CLASSES:
        return Settings(OFFICIAL, 3 if source.task == "fine-tuning" else 5)
    return Settings(3, 2)


def _paper(source: Source) -> Settings:
    """Official splits, with other folds of the search and other seeds in each repeat; else ten folds."""
    return Settings(OFFICIAL, 5, search=True) if _has_official_split(source) else Settings(10, 1, search=True)


def _full(source: Source) -> Settings:
    """Official splits; else three folds, three times where samples are few, or a third held out where they are many.

    Of more than 5,000 training or test samples, 5,000 are drawn, and a fit and its predictions have ten minutes.
    """
    if _has_official_split(source):
        folds: int | str = OFFICIAL
    else:
        folds = HELD_OUT if source.name in _WIDE else 3
    return Settings(folds, 3 if source.name in _SMALL else 1, timeout=600, most_samples=5000)


def _large(source: Source) -> Settings:
    return Settings(OFFICIAL if _has_official_split(source) else HELD_OUT, 1)


def _has_official_split(source: Source) -> bool:
    return source.path is None and (source.name in MULAN_NAMES or source.task in OF_UNSEEN_CLASSES)


def _up_to(tier: str) -> Callable[[Task], list[str]]:
    return lambda task: task.up_to(tier)


def _linear(task: Task) -> list[str]:
    """Names of the plain predictor, and of the linear metric before it."""
    return [task.predictor, f"RAMLLinear + {task.predictor}"]


_METRICS = ("NCA", "LMNN", "GMML", "RAMLLinear", "HRAML")


def _contenders(task: Task) -> list[str]:
    """Names of the plain predictor, of the metrics before it that are compared most, and of what stands alone."""
    metrics = {f"{metric} + {task.predictor}" for metric in _METRICS}
    return [name for name in task.up_to("full") if task.short(name) == name or name in metrics]


_LONG = ("bibtex", "imdb")  # few methods take sparse samples, fewer take so many, and few so many labels

_SMALL = (
    *("CHD_49", "Water_quality", "plant978", "Painting", "andro", "atp1d", "enb", "jura", "oes97", "sf2"),
    *("wine", "breast_cancer", "iris"),
)
"""Data sets of at most about 1,000 samples without an official split."""

_WIDE = ("Langlog", "Arts1500", "Business1500", "Movie")
"""Data sets without an official split, of 500 features or more and up to some 10,000 samples."""

_FULL = tuple(name for name, source in DATASETS.items() if name != "imdb" and source.task not in OF_UNSEEN_CLASSES)

PROFILES = {
    "default": Profile(tuple(BUNDLED), _up_to("quick"), _default),
    "paper": Profile(("emotions", "flags", "Natural_Scene"), _up_to("paper"), _paper),
    "full": Profile(_FULL, _contenders, _full),
    "images": Profile(("omniglot", "flowers102"), _up_to("quick"), _default),
    "large": Profile(("tmc2007-500", *_LONG), _linear, _large, alone=True),
}
