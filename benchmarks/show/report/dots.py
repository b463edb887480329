"""Plots of dots: methods by a criterion, and by their losses against a reference, in percent of the width."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks.show.ranking import Ranking

_WIDE = 3.0
_ROOM = 14


class Measured(NamedTuple):
    """Value of a method with both ends of its whisker, None without one, and what the paper has of it."""

    method: str
    value: float
    low: float | None
    high: float | None
    paper: float | None = None
    best: bool = False

    @property
    def ends(self) -> list[float]:
        """All that has to be within the limits."""
        return [value for value in (self.value, self.low, self.high, self.paper) if value is not None]


class Dot(NamedTuple):
    """Method in a plot: places in percent of the width, None for what there is not, and its value in words."""

    method: str
    words: str
    place: float
    low: float | None
    high: float | None
    paper: float | None
    best: bool


class Plot(NamedTuple):
    """Methods, the best first; `ticks` are pairs of a place and a number, `reference` is the place of a line."""

    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    reference: float | None


def by_criterion(measured: list[Measured], sign: int, baseline: float | None) -> Plot:
    """Plot of means on their scale; `sign` is 1 where more is better, and the line is at the baseline."""
    if not measured:
        return Plot((), (), None)
    ends = [end for each in measured for end in each.ends]
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(min(ends), max(ends))
    n_decimals = max(0, -int(np.floor(np.log10(ticks[1] - ticks[0]) + 1e-9)))
    numbers = {float(tick): f"{tick:.{n_decimals}f}" for tick in ticks}
    ordered = sorted(measured, key=lambda each: -sign * each.value)
    return _placed(ordered, numbers, float, "{:.4f}", baseline)


def forest(ranking: Ranking) -> Plot | None:
    """Plot of losses against the reference, in percent on the scale of ratios; None where there are no ratios."""
    found = ranking.against(ranking.reference)
    found = found[found["n_ratios"] > 0]
    if found.empty:
        return None
    measured = [Measured(f"{ranking.reference} (reference)", 0.0, None, None)]
    measured += [
        Measured(str(method), of.percent, *((None, None) if math.isnan(of.low) else (of.low, of.high)))
        for method, of in found.iterrows()
    ]
    ends = [end for each in measured for end in each.ends]
    ordered = sorted(measured, key=lambda each: each.value)
    ordered[0] = ordered[0]._replace(best=True)
    numbers = _percents(min(ends), max(ends))
    plot = _placed(ordered, numbers, lambda percent: math.log1p(percent / 100), "{:+z.1f}", 0.0)
    return plot._replace(ticks=_apart(plot.ticks, plot.reference or 0.0))


def _apart(ticks: Iterable[tuple[float, str]], first: float) -> tuple[tuple[float, str], ...]:
    """Ticks whose numbers have room, among them the one at the place that comes first."""
    kept: list[tuple[float, str]] = []
    for tick in sorted(ticks, key=lambda tick: abs(tick[0] - first)):
        if all(abs(tick[0] - other) >= _ROOM for other, _ in kept):
            kept.append(tick)
    return tuple(sorted(kept))


def _percents(low: float, high: float) -> dict[float, str]:
    """Ticks in percent: even steps, or doublings where the highest loss is several times the lowest."""
    if (100 + high) < _WIDE * (100 + low):
        ticks = [tick for tick in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if tick > -100]
    else:
        ends = np.log2(1 + np.array([low, high]) / 100)
        ticks = [100 * (2.0**power - 1) for power in MaxNLocator(5, integer=True).tick_values(*ends)]
    return {float(tick): f"{tick:+,.3g}" if abs(tick) < 1000 else f"{tick:+,.0f}" for tick in ticks}


def _placed(
    measured: Iterable[Measured],
    ticks: dict[float, str],
    scale: Callable[[float], float],
    form: str,
    reference: float | None,
) -> Plot:
    measured = list(measured)
    ends = [scale(end) for end in [*ticks, *(end for each in measured for end in each.ends)]]
    low, high = min(ends), max(ends)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (scale(value) - low) / (high - low), 2)

    dots = tuple(
        Dot(
            each.method,
            form.format(each.value),
            place(each.value) or 0.0,
            place(each.low),
            place(each.high),
            place(each.paper),
            each.best,
        )
        for each in measured
    )
    return Plot(dots, tuple((place(tick) or 0.0, number) for tick, number in ticks.items()), place(reference))
