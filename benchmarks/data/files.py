"""Data sets in files of one's own: ARFF, CSV, parquet and matrices of MATLAB."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import arff
import numpy as np
import pandas as pd
import pyarrow.parquet
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

from benchmarks.data.matlab import Matrix, read_matrices

Labels = tuple[str, ...] | int | None

_LARGEST = 1e150  # modulus of a number whose square is in range
_LABELS = {"false": 0, "true": 1, "no": 0, "yes": 1}
"""Words for a label that is not there, and for one that is, in small letters."""


def read_file(path: str, labels: Labels = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Samples, targets and the names of the targets.

    Parameters
    ----------
    path : str
        File with the suffix .arff (dense or sparse), .csv, .parquet or .mat (of MATLAB, up to version 7); it may be
        packed as .gz, .bz2, .xz or .zip. Text is in UTF-8, or in UTF-16 with a byte order mark. A .mat has a matrix of
        features and one of targets, with a row a sample, sparse or not, under names of `_MATRICES`. The columns of
        "features" are named "features_0", "features_1", ...
    labels : tuple of str, int or None, default=None
        Names of the target columns, or their number: n for the last n columns, as Mulan has them, -n for the first n.
        None is what an ARFF file of MEKA says of itself ("words: -C 6" is its relation: the first 6), which must be
        columns of labels, and the matrix of targets of a .mat.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Numbers as they are, nominal columns one-hot.
    Y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Classes of a single column, as integers, or its numbers, as floats, where there are fractions among them;
        numbers of several columns. FALSE and no are 0 there and TRUE and yes are 1, in any case.
    names : list of str
        Names of the target columns.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, its kind is not known, the target columns are not in it, values are missing or infinite, or
        a column has numbers and names.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    unpack = _UNPACKED_BY[suffixes.pop()] if suffixes and suffixes[-1] in _UNPACKED_BY else None
    if not suffixes or suffixes[-1] not in _READERS:
        raise ValueError(
            f"{path} is of no known kind. Pass a file that ends in {', '.join(_READERS)}, or in one of these and "
            f"{', '.join(_UNPACKED_BY)}."
        )
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OSError(f"{path} cannot be opened ({error.strerror}). Pass the path of a file with --data.") from error
    if unpack is not None:
        content = _unpacked(content, unpack, path)
    try:
        frame, said = _READERS[suffixes[-1]](content)
    except Exception as error:  # those who read have errors of many kinds for what is damaged
        reason = _words(error).rstrip(".") or type(error).__name__
        kind = suffixes[-1].removeprefix(".")
        raise ValueError(f"{path} cannot be read as {kind}: {reason}. Mend it, or write it anew.") from error
    frame.columns = frame.columns.map(str)
    _check_names(list(frame.columns), path)
    targets = _targets(list(frame.columns), said if labels is None else labels, path)
    features = frame.drop(columns=targets)
    if features.empty:
        raise ValueError(f"{path} has no samples, or no columns beside its targets {targets}.")
    _check_values(frame, path)
    if labels is None and suffixes[-1] == ".arff":
        _check_said(frame[targets], path)
    _nominal(frame[targets], len(frame), path)
    is_nominal = features.columns.isin(_nominal(features, max(50, len(frame) // 10), path))
    encode = make_column_transformer(
        (OneHotEncoder(drop="if_binary", sparse_output=False), is_nominal), remainder="passthrough"
    )
    return encode.fit_transform(features).astype(np.float64), _values(frame[targets], path), targets


def _words(error: Exception) -> str:
    try:
        return str(error)
    except (TypeError, ValueError):  # liac-arff's, of a value with a percent sign
        return error.message.replace("%d", str(error.line))  # type: ignore[attr-defined]


def _check_names(columns: list[str], path: str) -> None:
    """Refuse columns without a name, and names that two of them have."""
    if any(not name.strip() or re.fullmatch(r"Unnamed: \d+", name) for name in columns):
        raise ValueError(
            f"{path} has a column without a name, as pandas writes its index. Name it, or write it with index=False."
        )
    counts = Counter(name.strip() for name in columns)
    repeated = [name for name in counts if counts[name] > 1]
    if repeated:
        raise ValueError(f"{path} has several columns of the names {repeated[:5]}. Give each a name of its own.")


def _check_values(frame: pd.DataFrame, path: str) -> None:
    """Refuse values that are missing, or infinite when they are squared."""
    missing = [column for column in frame if frame[column].isna().any()]
    if missing:
        raise ValueError(
            f"{path} misses values in {len(missing)} columns: {missing[:5]}. Fill them in, or leave these columns out."
        )
    real = [column for column in frame if pd.api.types.is_float_dtype(frame[column])]
    infinite = [column for column in real if (frame[column].abs().to_numpy(np.float64) > _LARGEST).any()]
    if infinite:
        raise ValueError(
            f"{path} has infinite values in {len(infinite)} columns: {infinite[:5]}. Replace them by numbers of at "
            f"most {_LARGEST:.0e}, or leave these columns out."
        )


def _check_said(targets: pd.DataFrame, path: str) -> None:
    """Refuse to take what MEKA's "-C" names for targets if it is not labels."""
    for name, column in targets.items():
        if not set(column.map(lambda value: str(value).lower())) <= {"0", "1", "0.0", "1.0", *_LABELS}:
            raise ValueError(
                f"The relation of {path} says that its targets are {list(targets)[:5]}, but {name!r}, such as "
                f"{column.iloc[0]}, is not of 0 and 1, FALSE and TRUE, or no and yes. Name the targets with --labels."
            )


def _nominal(columns: pd.DataFrame, most: int, path: str) -> list[str]:
    """Columns of few values that are no numbers; columns that are neither are refused."""
    numeric = columns.select_dtypes(["number", "bool"]).select_dtypes(exclude=["timedelta", "complexfloating"])
    others = columns.drop(columns=list(numeric))
    for column in others:
        # Numbers that are left as objects have more digits than a number has.
        kinds = str | bool if others[column].dtype == object else str | bool | int | float
        text = others[column].map(lambda value, kinds=kinds: isinstance(value, kinds))
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
            raise ValueError(
                f"{labels} target columns were asked for, but {path} has {len(columns)} columns in all. Pass --labels: "
                "names of target columns, or a number that leaves a feature, n for the last n and -n for the first n."
            )
        return columns[-labels:] if labels > 0 else columns[:-labels]
    unknown = [label for label in labels if label not in columns]
    if len(set(labels)) < len(labels):
        raise ValueError(f"Labels are given twice: {list(labels)}. Name each column once.")
    if unknown:
        few = columns if len(columns) <= 10 else [*columns[:5], "...", *columns[-5:]]
        raise ValueError(f"{path} has no columns {unknown}. Its columns are {few}: name some of these with --labels.")
    return list(labels)


def _values(targets: pd.DataFrame, path: str) -> np.ndarray:
    if targets.shape[1] == 1:
        classes = targets.iloc[:, 0]
        if pd.api.types.is_float_dtype(classes) and not (classes % 1 == 0).all():
            return classes.to_numpy(np.float64)
        return np.unique(classes.to_numpy(), return_inverse=True)[1]
    Y = np.column_stack([_numbers(column, path) for _, column in targets.items()])
    return Y.astype(np.int64) if np.isin(Y, (0, 1)).all() else Y


def _numbers(target: pd.Series, path: str) -> np.ndarray:
    """Numbers of one target of several."""
    if not pd.api.types.is_numeric_dtype(target):
        labels = target.astype(str).str.lower().map(_LABELS)
        target = target if labels.isna().any() else labels
    try:
        numbers = pd.to_numeric(target).to_numpy(np.float64)
    except ValueError as error:
        raise ValueError(
            f"The targets of {path} are not numbers: {error} of {target.name!r}. Labels are 0 and 1, FALSE and TRUE, "
            "or no and yes; name a single column of classes."
        ) from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"The target {target.name!r} of {path} has infinite values. Replace them by numbers.")
    return numbers


# What is packed


@contextmanager
def _only_entry(packed: IO[bytes]) -> Iterator[IO[bytes]]:
    with ZipFile(packed) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)} files")
        with archive.open(names[0]) as file:
            yield file


_UNPACKED_BY: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zip": _only_entry}


def _unpacked(content: bytes, unpack: Callable, path: str) -> bytes:
    most = _most(content)
    try:
        with unpack(io.BytesIO(content)) as file:
            unpacked = file.read(most + 1)
    except Exception as error:  # each kind of packing has errors of its own
        raise ValueError(
            f"{path} cannot be unpacked ({error}). If it is damaged or cut off, get it again; or else unpack it, and "
            "pass the file that was in it."
        ) from error
    if len(unpacked) > most:
        raise ValueError(f"{path} holds more than {most:,} bytes. If it should, unpack it, and pass what was in it.")
    return unpacked


def _most(content: bytes) -> int:
    """Bytes that some bytes may become: honest tables are hardly packed to a hundredth."""
    return max(2**30, 100 * len(content))


# Kinds of files


def _text(content: bytes) -> str:
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8, by its byte {error.start}") from error


def _read_arff(content: bytes) -> tuple[pd.DataFrame, int | None]:
    """Table of an ARFF file, and how many target columns its relation names in MEKA's way."""
    text = _text(content)
    is_sparse = re.search(r"(?im)^[ \t]*@data[ \t\r]*\n(?:[ \t\r]*(?:%[^\n]*)?\n)*[ \t]*\{", text) is not None
    table = arff.loads(text, return_type=arff.LOD if is_sparse else arff.DENSE)
    names = [name for name, _ in table["attributes"]]
    # A name, a colon and options that take numbers. Filters of Weka, which may turn columns, add other words.
    meka = re.fullmatch(r"[^:]*:((?:\s*-[A-Za-z][\w-]*(?:\s+-?[\d.]+)?)+)\s*", table["relation"])
    said = meka and re.search(r"-C\s+(-?\d+)", meka[1])
    n_first = -int(said[1]) if said else None
    if not is_sparse:
        return pd.DataFrame(table["data"], columns=names), n_first
    # What a sparse file leaves out is 0, or the first value of a nominal column.
    empty = [kind[0] if isinstance(kind, list) else 0.0 for _, kind in table["attributes"]]
    columns = [np.full(len(table["data"]), value, dtype=object if isinstance(value, str) else float) for value in empty]
    for row, entries in enumerate(table["data"]):
        for column, value in entries.items():
            columns[column][row] = value
    return pd.DataFrame(dict(zip(names, columns, strict=True))), n_first


def _read_csv(content: bytes) -> tuple[pd.DataFrame, None]:
    text = _text(content)
    frame = pd.read_csv(io.StringIO(text), low_memory=False)  # which guesses the kind of a column once
    _, header = next(_lines(text))
    if len(header) < 2 or not isinstance(frame.index, pd.RangeIndex):
        start = ",".join(header)[:60]
        raise ValueError(f"its first line, {start!r}, does not name all columns, two at least, with commas between")
    frame.columns = header  # as they are, where pandas renames those that are repeated
    _check_kinds(frame, lambda row: f"line {next(line for k, (line, _) in enumerate(_lines(text)) if k == row + 1)}")
    return frame, None


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Fields of each line that is not blank, and its number."""
    reader = csv.reader(io.StringIO(text, newline=""))
    for fields in reader:
        if len(fields) > 1 or "".join(fields).strip():
            yield reader.line_num, fields


def _read_parquet(content: bytes) -> tuple[pd.DataFrame, None]:
    size = pyarrow.parquet.read_metadata(io.BytesIO(content))
    if 8 * size.num_rows * size.num_columns > _most(content):
        raise ValueError(f"it claims to hold {size.num_rows:,} x {size.num_columns:,} values in {len(content):,} bytes")
    frame = pd.read_parquet(io.BytesIO(content))
    named = [name for name in frame.index.names if name is not None]
    if named:
        raise ValueError(f"its index, {', '.join(map(repr, named))}, is no column: write frame.reset_index()")
    frame = frame.reset_index(drop=True)
    _check_kinds(frame, lambda row: f"row {row + 1}")
    return frame, None


_MATRICES = {
    "features": ("features", "X", "data", "fea"),
    "targets": ("label_distribution", "labels", "Y", "target", "gnd"),
}
"""Names that matrices of a MATLAB file may have, by what they hold."""


def _read_mat(content: bytes) -> tuple[pd.DataFrame, int]:
    """Table of the two matrices of a MATLAB file, and how many of its last columns are targets."""
    held = read_matrices(content, sum(_MATRICES.values(), ()), _most(content))
    features, targets = (_table(held, kind, len(content), _most(content)) for kind in _MATRICES)
    if len(targets) == 1 and len(features) == targets.shape[1]:
        targets = pd.DataFrame({targets.columns[0]: targets.iloc[0].to_numpy()})  # classes in a row
    if len(features) != len(targets):
        raise ValueError(
            f"it has {len(features)} rows of features ({features.columns[0]}, ...) and {len(targets)} of targets "
            f"({targets.columns[0]}, ...), where each sample is a row of both"
        )
    return pd.concat([features, targets], axis=1), targets.shape[1]


def _table(held: list[Matrix], kind: str, size: int, most: int) -> pd.DataFrame:
    """Matrix of features or of targets, the only one of its names, with numbered columns."""
    found = [matrix for matrix in held if matrix.name in _MATRICES[kind]]
    if len(found) != 1:
        raise ValueError(
            f"one matrix of {kind} is sought, with a name of {', '.join(_MATRICES[kind])}, and {len(found)} are found "
            f"among {', '.join(map(str, held[:20])) or 'no matrices'}"
        )
    (matrix,) = found
    if 8 * math.prod(matrix.shape) > most:
        raise ValueError(f"{matrix} claims to hold more than {most // 8:,} values in {size:,} bytes")
    if matrix.values is None:
        raise ValueError(f"{matrix} is no matrix of real numbers with a row a sample")
    return pd.DataFrame(matrix.values, columns=[f"{matrix.name}_{column}" for column in range(matrix.shape[1])])


def _check_kinds(frame: pd.DataFrame, place: Callable[[int], str]) -> None:
    """Refuse columns of texts of which some are numbers: one letter would make a name of every number."""
    for name, column in frame.items():
        if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
            continue
        texts = column[column.map(lambda value: isinstance(value, str))]
        others = texts[pd.to_numeric(texts, errors="coerce").isna()]
        if 0 < len(others) < len(texts):
            raise ValueError(
                f"column {name!r} has numbers, but {others.iloc[0]!r} in {place(others.index[0])}. A column is of "
                "numbers, or of names none of which is a number"
            )


_READERS: dict[str, Callable[[bytes], tuple[pd.DataFrame, int | None]]] = {
    ".arff": _read_arff,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".mat": _read_mat,
}
