"""Times of work beside those of a floor or a peer."""

from collections.abc import Callable, Sequence
from statistics import median
from time import get_clock_info, perf_counter
from typing import NotRequired, TypedDict

import numpy as np

_SLOW, _PATIENCE = 2.0, 10.0  # seconds of a call that needs no warming up, and of a path that needs no further round


class Measurement(TypedDict):
    """Time of a hot path beside that of its floor, as a line of JSON.

    A growth has its exponent in place of the ratio, and no time of a floor.
    """

    path: str
    seconds: float
    floor: str
    floor_seconds: NotRequired[float]
    ratio: float
    profile: NotRequired[str]
    commit: NotRequired[str | None]
    precision_at_5: NotRequired[float]
    peak_over_X: NotRequired[float]  # memory, X and what a fit adds to it, in units of X


def medians(work: Callable, floor: Callable | None, repeats: int, rounds: int = 3) -> tuple[float, float]:
    """Median seconds of the work and of its floor, if any, in alternating rounds so that a slow spell hits both.

    The first call of a round warms up and does not count: torch and numpy bring thread pools of their own, and for a
    while after its last call the one keeps the cores from the other. Of a call that takes seconds that is nothing: it
    counts, and is the only one of its round. No round begins after some ten seconds.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    began = perf_counter()
    for _ in range(rounds):
        for call, times in zip((work, floor), seconds, strict=True) if floor else [(work, seconds[0])]:
            for timed in [False] + [True] * repeats:
                start = perf_counter()
                call()
                took = perf_counter() - start
                if timed or took > _SLOW:
                    times.append(took)
                if took > _SLOW:
                    break
        if perf_counter() - began > _PATIENCE:
            break
    return median(seconds[0]), median(seconds[1] or [0.0])


def added(few: float, many: float, n_steps: int) -> float:
    """Seconds of each of the steps that `many` has and `few` has not; noise may exceed them, but not make them none."""
    return max((many - few) / n_steps, get_clock_info("perf_counter").resolution)


def measurement(path: str, seconds: float, floor_name: str, floor: float) -> Measurement:
    """Measurement of a path beside its floor."""
    return {"path": path, "seconds": seconds, "floor": floor_name, "floor_seconds": floor, "ratio": seconds / floor}


def growth(path: str, sizes: Sequence[int], seconds: Sequence[float] | np.ndarray) -> Measurement:
    """Measurement of the exponent e of time ~ n^e, by least squares on logarithms."""
    return {
        "path": f"{path}, {sizes[0]:,} to {sizes[-1]:,} samples",
        "seconds": float(seconds[-1]),
        "floor": "growth: exponent of n",
        "ratio": float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]),
    }
