"""Pictures of the report: quality against time, ranks, samples under several metrics, and a training."""

import warnings
from typing import NamedTuple, cast

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.compare.cells import Settings, splits
from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.data.sources import Source, load
from benchmarks.show.ranking import Ranking
from benchmarks.show.report.sections import Line
from benchmarks.show.report.svg import inlined, style
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.plotting import plot_critical_difference, plot_embedding, plot_quality_against_time, plot_training
from skrelmetric.relations import make_relation

_MOST_VALUES = 1_000_000
_MOST_TRAINED = 2000
_MOST_SHOWN = 500


class Picture(NamedTuple):
    """Drawing with its title and its caption, which says what is to be seen."""

    svg: Markup
    title: str
    caption: str
    wide: bool = False


def short(method: str, task: str) -> str:
    """Name of a method without the predictor that all have in common."""
    return TASKS[task].short(method) if task in TASKS else method


def quality_against_time(lines: tuple[Line, ...], task: str, criterion: Criterion, column: int, name: str) -> Picture:
    """Mean criterion of each method of a data set against its median time of a fit."""
    scored = [
        (", ".join(short(method, task) for method in line.methods), line.seconds, entry)
        for line in lines
        if (entry := line.entries[column])
    ]
    names = [method for method, *_ in scored]
    times = np.maximum([seconds or 0.0 for _, seconds, _ in scored], 1e-6)
    quality = np.array([entry.mean for *_, entry in scored])
    better = criterion.sign > 0
    best, fastest = (quality * criterion.sign).argmax(), times.argmin()
    what = criterion.title.rpartition(" ")[0]
    caption = (
        f"Best: {names[best]}, {quality[best]:.4f} in {times[best]:.2g} s; "
        f"fastest: {names[fastest]}, {quality[fastest]:.4f} in {times[fastest]:.2g} s. "
        "The line joins methods than which none is both faster and better."
    )
    with style(name):
        ax = Figure(figsize=(8.5, 3.5 + 0.05 * len(names)), layout="constrained").subplots()
        plot_quality_against_time(times, quality, names, higher_is_better=better, ax=ax)
        ax.set(xlabel="median seconds of a fit", ylabel=criterion.title)
        _plain_decades(ax)
        return _picture(ax, f"{what} against time", caption, name, wide=True)


def critical_difference(ranking: Ranking, name: str) -> Picture:
    """Average ranks, and which methods Nemenyi's test does not tell apart."""
    ranks = ranking.ranks.rename(columns=lambda method: short(method, ranking.task))
    ends = [f"{short(method, ranking.task)}, {rank:.2f}," for method, rank in ranking.average.iloc[[0, -1]].items()]
    caption = (
        f"From {ends[0]} to {' '.join(ends[1:]).rstrip(',')}; all are in the table above. A bar joins methods that "
        "Nemenyi's test does not tell apart at level 0.05."
    )
    with style(name):
        # Without a layout, which would take the room for names from the axis: the picture grows by them instead.
        ax = Figure(figsize=(6.5, 1.2 + 0.19 * ranks.shape[1])).subplots()
        plot_critical_difference(ranks, higher_is_better=False, ax=ax)
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        return _picture(ax, "Average ranks", caption, name, wide=True)


def _plain_decades(ax: Axes) -> None:
    """Times as plain numbers, and enough of them where they span less than two decades."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


class TooLargeError(ValueError):
    """Data set of which no picture can be made in a few seconds."""


def illustrations(source: Source, record: Record, name: str) -> list[Picture]:
    """Test samples of a split under plain and learned distances, and a training.

    Parameters
    ----------
    source : Source
        The data set.
    record : dict
        One of its records, which says how it was split.
    name : str
        Begin of the pictures' ids, unique in the page.

    Raises
    ------
    TooLargeError
        If it would take long.
    ImportError, OSError, ValueError
        If the data cannot be read or are not split like that any more.
    """
    data = load(source)
    X, Y = data.X, data.Y
    if X.ndim != 2 or X.size > _MOST_VALUES:
        raise TooLargeError(f"{source.name} is too large for pictures in passing")
    train, test = splits(source, Settings(record.get("folds", 3), 1, record.get("seed", 0)))[0]
    generator = np.random.default_rng(0)
    train, test = (
        np.sort(generator.permutation(rows)[:most]) for rows, most in ((train, _MOST_TRAINED), (test, _MOST_SHOWN))
    )
    metrics = {
        "Standardised features": StandardScaler(),
        "RAMLLinear": make_pipeline(StandardScaler(), RAMLLinear()),
        "HRAMLTransformer": make_pipeline(StandardScaler(), HRAMLTransformer(random_state=0)),
    }
    training = HRAMLTransformer(encoder="mlp", max_epochs=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that only illustrate
        embedded = {title: metric.fit(X[train], Y[train]).transform(X[test]) for title, metric in metrics.items()}
        training.fit(StandardScaler().fit_transform(X[train]), Y[train])
        pictures = [_embedding(Z, Y[test], title, f"{name}-{k}") for k, (title, Z) in enumerate(embedded.items())]
    return [*pictures, _training(training, f"{name}-training")]


def _embedding(Z: np.ndarray, Y: np.ndarray, title: str, name: str) -> Picture:
    caption = (
        f"{len(Z):,} test samples, whose distances have a Spearman correlation of {_agreement(Z, Y):.2f} with the "
        "relation of their targets."
    )
    with style(name):
        ax = Figure(figsize=(5.2, 3.9), layout="constrained").subplots()
        plot_embedding(Z, Y, max_panels=6, ax=ax)  # each panel takes some 50 kB of the page
        return _picture(ax, title, caption, name)


def _agreement(Z: np.ndarray, Y: np.ndarray) -> float:
    """Rank correlation of squared distances with the relation, over all pairs."""
    i, j = np.triu_indices(len(Z), 1)
    relation = make_relation(Y, "auto")
    pairs = relation.pairs(*(torch.as_tensor(end).to(relation.device) for end in (i, j)))
    return round(float(spearmanr(pdist(Z, "sqeuclidean"), pairs.cpu().numpy()).statistic), 2) + 0.0  # no -0.00


def _training(metric: HRAMLTransformer, name: str) -> Picture:
    losses = metric.loss_curve_
    caption = (
        f"The loss of HRAMLTransformer(encoder='mlp') goes from {losses[0]:.3g} to {losses[-1]:.3g} in "
        f"{len(losses)} epochs"
    )
    if len(getattr(metric, "validation_curve_", [])):
        caption += f"; the weights of epoch {metric.best_epoch_} are kept, by the neighbours of samples held out"
    with style(name):
        ax = Figure(figsize=(5.2, 3.9), layout="constrained").subplots()
        plot_training(metric, ax=ax)
        for beside in ax.figure.axes[1:]:
            beside.spines["right"].set_visible(True)
        return _picture(ax, "A training", caption + ".", name)


def _picture(ax: Axes, title: str, caption: str, name: str, wide: bool = False) -> Picture:
    return Picture(inlined(cast(Figure, ax.figure), f"{title}. {caption}", name), title, caption, wide)
