"""Numbers of a ranking in words, and what has to be known to read them."""

import math
from collections.abc import Iterable

import pandas as pd

from benchmarks.show.ranking import Ranking, some
from benchmarks.show.significance import LEAST


def span(low_high: Iterable[float], form: str) -> str:
    """Interval, in a line of its own, which has no blank to break at; nothing where there is none."""
    low, high = low_high
    return "" if math.isnan(low) else f"\n[{low:{form}},{high:{form}}]"


def effect(of: pd.Series, n_rows: int) -> str:
    """Percent by which losses are above others, with the interval, and the number of rows where it is not all."""
    if not of.n_ratios:
        return "–"
    words = f"{of.percent:+z.1f}{span((of.low, of.high), '+z.1f')}"
    return words if of.n_ratios == n_rows else f"{words}\nin {of.n_ratios:g} of {n_rows}"


def probabilities(of: pd.Series) -> str:
    """Posterior probabilities that a method is better, equal or worse, in percent."""
    if math.isnan(of.equal):
        return "–"
    return "/".join(f"{100 * probability:.0f}" for probability in (of.better, of.equal, of.worse))


def notes(ranking: Ranking) -> list[str]:
    """Sentences on a ranking against its reference: what was counted, how, and what was left out and why."""
    reference, n_rows = ranking.reference, len(ranking.ranks)
    said = ["Rank: the average over data sets of the rank by the mean rank over the criteria, 1 for the best."]
    if ranking.families:
        families = "; ".join(f"{row}: {', '.join(members)}" for row, members in ranking.families.items())
        said.append(f"{ranking.n_datasets} data sets count as {n_rows}, since those of a family are one ({families}).")
    if n_rows >= LEAST:
        said.append(f"In brackets: 95 percent intervals, by the bootstrap over the {n_rows}.")
    if ranking.log_losses is not None:
        said += [
            "Loss: the geometric mean of ratios of losses over data sets and criteria; a score loses what it lacks of "
            "1, and a loss of 0 counts as half of the least that can be told, 1 / test samples or the least above 0.",
            f"Wilcoxon's test is on the logarithms of these ratios against {reference}, Nemenyi's on ranks.",
            f"Better, equal, worse: posterior probabilities (Bayesian signed-rank test) that the loss of a method is "
            f"below, within 1 percent of, or above that of {reference}.",
        ]
    else:
        said.append("Some losses have no logarithm, so there are no ratios; Wilcoxon's test is on ranks.")
    if n_rows < 6:
        said.append(f"Over {n_rows} data sets Wilcoxon's test cannot come below p = {2 ** (1 - n_rows):.3g}.")
    if ranking.too_slow:
        where = "; ".join(f"{method} on {some(names)}" for method, names in ranking.too_slow.items())
        said.append(f"Too slow, so last, lost and without a ratio: {where}.")
    if ranking.left_out:
        said.append(f"Left out: {_by_reason(ranking.left_out)}.")
    return said


def _by_reason(left_out: dict[str, str]) -> str:
    """Methods that were left out, those together that were for the same reason."""
    methods: dict[str, list[str]] = {}
    for method, where in left_out.items():
        methods.setdefault(where, []).append(method)
    return "; ".join(f"{', '.join(names)} ({where})" for where, names in methods.items())
