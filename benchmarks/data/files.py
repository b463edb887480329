"""Data sets in files of one's own: ARFF, CSV and parquet."""

import bz2
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import arff
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

Labels = tuple[str, ...] | int | None

_OPENED_BY: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open}


def read_file(path: str, labels: Labels = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Samples, targets and the names of the targets.

    Parameters
    ----------
    path : str
        File with the suffix .arff (dense or sparse), .csv or .parquet; .arff and .csv may be compressed as .gz or .bz2.
    labels : tuple of str, int or None, default=None
        Names of the target columns, or their number: n for the last n columns, as Mulan has them, -n for the first n.
        None is what an ARFF file of MEKA says of itself ("-C 6" in its relation: the first 6).

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Numbers as they are, nominal columns one-hot.
    Y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Classes of a single column, numbers of several.
    names : list of str
        Names of the target columns.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If its kind is not known, the target columns are not in it, or values are missing.
    """
    kinds = [suffix for suffix in Path(path).suffixes if suffix.lower() in _READERS]
    if not kinds:
        raise ValueError(f"{path} is of no known kind. Pass a file that ends in {', '.join(_READERS)}.")
    try:
        frame, said = _READERS[kinds[-1].lower()](path)
    except (arff.ArffException, ValueError) as error:
        raise ValueError(f"{path} cannot be read as {kinds[-1][1:]}: {error}") from error
    frame.columns = frame.columns.astype(str)
    targets = _targets(list(frame.columns), said if labels is None else labels, path)
    features = frame.drop(columns=targets)
    if features.empty:
        raise ValueError(f"{path} has no samples, or no columns beside its targets {targets}.")
    missing = [column for column in frame if frame[column].isna().any()]
    if missing:
        raise ValueError(
            f"{path} misses values in {len(missing)} columns: {missing[:5]}. Fill them in, or leave these columns out."
        )
    nominal = _nominal(features, path)
    encode = make_column_transformer(
        (OneHotEncoder(drop="if_binary", sparse_output=False), nominal), remainder="passthrough"
    )
    return encode.fit_transform(features).astype(np.float64), _values(frame[targets], path), targets


def _nominal(features: pd.DataFrame, path: str) -> list[str]:
    """Columns of few values that are no numbers; columns that are neither are refused."""
    if "Unnamed: 0" in features:
        raise ValueError(f"{path} has a column without a name, as pandas writes its index. Write it with index=False.")
    numeric = features.select_dtypes(["number", "bool"]).select_dtypes(exclude="timedelta")
    others = features.drop(columns=list(numeric))
    most = max(50, len(features) // 10)
    for column in others:
        text = others[column].map(lambda value: isinstance(value, str | bool | int | float))
        if not text.all() or others[column].nunique() > most:
            raise ValueError(
                f"{column!r} of {path}, such as {others[column].iloc[0]!r}, holds dates, identifiers or other things "
                f"that are neither numbers nor at most {most} names. Turn it into numbers, or leave it out."
            )
    return list(others)


def _targets(columns: list[str], labels: Labels, path: str) -> list[str]:
    if labels is None:
        raise ValueError(f"{path} does not say which columns are targets. Pass --labels: their names or their number.")
    if isinstance(labels, int) and str(labels) in columns:  # a name, after all
        return [str(labels)]
    if isinstance(labels, int):
        if not 0 < abs(labels) < len(columns):
            raise ValueError(f"{labels} target columns were asked for, but {path} has {len(columns)} columns in all.")
        return columns[-labels:] if labels > 0 else columns[:-labels]
    unknown = [label for label in labels if label not in columns]
    if len(set(labels)) < len(labels):
        raise ValueError(f"Labels are given twice: {list(labels)}. Name each column once.")
    if unknown:
        raise ValueError(f"{path} has no columns {unknown}. Its columns are {columns[:5]} ... {columns[-5:]}.")
    return list(labels)


def _values(targets: pd.DataFrame, path: str) -> np.ndarray:
    if targets.shape[1] == 1:
        classes = targets.iloc[:, 0]
        if pd.api.types.is_float_dtype(classes) and not (classes % 1 == 0).all():
            raise ValueError(f"The target {classes.name!r} of {path} holds fractions, which are no classes.")
        return np.unique(classes.to_numpy(), return_inverse=True)[1]
    try:
        Y = targets.apply(pd.to_numeric).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"The targets of {path} are not numbers: {error}. Labels are 0 or 1.") from error
    return Y.astype(np.int64) if np.isin(Y, (0, 1)).all() else Y


def _read_arff(path: str) -> tuple[pd.DataFrame, int | None]:
    """Table of an ARFF file, and how many target columns its relation names in MEKA's way."""
    with _OPENED_BY.get(Path(path).suffix.lower(), open)(path, "rt", encoding="utf-8") as lines:
        text = lines.read()
    is_sparse = re.split("@data", text, maxsplit=1, flags=re.IGNORECASE)[-1].lstrip().startswith("{")
    content = arff.loads(text, return_type=arff.LOD if is_sparse else arff.DENSE)
    names = [name for name, _ in content["attributes"]]
    said = re.search(r"-C\s+(-?\d+)", content["relation"])
    if is_sparse:
        # What a sparse file leaves out is 0, or the first value of a nominal column.
        empty = [kind[0] if isinstance(kind, list) else 0.0 for _, kind in content["attributes"]]
        columns = [
            np.full(len(content["data"]), value, dtype=object if isinstance(value, str) else float) for value in empty
        ]
        for row, entries in enumerate(content["data"]):
            for column, value in entries.items():
                columns[column][row] = value
        return pd.DataFrame(dict(zip(names, columns, strict=True))), -int(said[1]) if said else None
    return pd.DataFrame(content["data"], columns=names), -int(said[1]) if said else None


def _read_csv(path: str) -> tuple[pd.DataFrame, None]:
    return pd.read_csv(path), None


def _read_parquet(path: str) -> tuple[pd.DataFrame, None]:
    return pd.read_parquet(path), None


_READERS: dict[str, Callable[[str], tuple[pd.DataFrame, int | None]]] = {
    ".arff": _read_arff,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
