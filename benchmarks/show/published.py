"""Figures of others: Tables 2 and 3 of "Hierarchical relationship alignment metric learning", and precision at k."""

_MULTILABEL = ("Hamming loss ↓", "Ranking loss ↓", "One-error ↓", "Coverage ↓", "Average precision ↑")
_DISTRIBUTION = ("Chebyshev ↓", "Clark ↓", "Canberra ↓", "Cosine ↑", "Intersection ↑")

_FIGURES = {
    "emotions": {
        "MLkNN": (0.2137, 0.1729, 0.3317, 1.9158, 0.7808),
        "RAML-SVR + MLkNN": (0.2054, 0.1577, 0.2376, 1.8960, 0.8101),
        "RAML-KRR + MLkNN": (0.2046, 0.1382, 0.2574, 1.7327, 0.8225),
        "HRAML as published + MLkNN": (0.2060, 0.1690, 0.2871, 1.8861, 0.8052),
    },
    "flags": {
        "MLkNN": (0.3099, 0.2228, 0.2154, 3.8154, 0.8084),
        "RAML-SVR + MLkNN": (0.2967, 0.2179, 0.2000, 3.8115, 0.8128),
        "RAML-KRR + MLkNN": (0.2967, 0.2113, 0.2000, 3.7692, 0.8112),
        "HRAML as published + MLkNN": (0.2791, 0.2021, 0.2154, 3.6769, 0.8244),
    },
    "Natural_Scene": {
        "AAKNN": (0.3261, 1.8448, 4.3412, 0.6905, 0.5506),
        "RAML-SVR + AAKNN": (0.3102, 1.6986, 3.8576, 0.7051, 0.5739),
        "RAML-KRR + AAKNN": (0.3139, 1.6865, 3.8419, 0.7057, 0.5743),
        "HRAML as published + AAKNN": (0.2907, 1.7664, 4.0922, 0.7321, 0.5929),
    },
}

PAPER: dict[str, dict[str, dict[str, float]]] = {
    dataset: {
        method: dict(zip(_DISTRIBUTION if dataset == "Natural_Scene" else _MULTILABEL, figures, strict=True))
        for method, figures in rows.items()
    }
    for dataset, rows in _FIGURES.items()
}
"""Criterion by title, of each method of each data set: of MLkNN on official splits, of AAKNN over ten folds."""


def best(dataset: str) -> dict[str, float]:
    """The paper's best figure of each criterion of a data set; none where the paper has none."""
    rows = PAPER.get(dataset, {}).values()
    return {title: (max if title.endswith("↑") else min)(row[title] for row in rows) for title in next(iter(rows), {})}


_PRECISIONS = {
    "bibtex": {
        "SLEEC": (65.08, 39.64, 28.87),
        "ProXML": (64.60, 39.00, 28.20),
        "Parabel": (64.53, 38.56, 27.94),
        "PfastreXML": (63.46, 39.22, 29.14),
        "FastXML": (63.42, 39.23, 28.86),
        "1-vs-All": (62.62, 39.09, 28.79),
        "LEML": (62.54, 38.41, 28.21),
        "kNN": (57.04, 34.38, 25.44),
    }
}

PRECISION_AT_K: dict[str, dict[str, dict[str, float]]] = {
    dataset: {
        method: {f"P@{k} ↑": figure / 100 for k, figure in zip((1, 3, 5), figures, strict=True)}
        for method, figures in rows.items()
    }
    for dataset, rows in _PRECISIONS.items()
}
"""Precision at k on the official split, as the Extreme Classification Repository and the papers themselves have it."""
