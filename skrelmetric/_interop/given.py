"""Samples and targets as they were given: what is no array of numbers or classes is refused before it is read."""

from collections import UserList, deque
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array as _check_array
from sklearn.utils.validation import validate_data as _validate_data

from skrelmetric._interop.dask import is_dask

__all__ = ["check_array", "check_array_like", "is_data_set", "is_missing", "plain_targets", "validate_data"]

_SEQUENCES = str | bytes | bytearray | range | list | tuple | deque | UserList  # of Python, which arrays are made of


def check_array(array: Any, **options: Any) -> Any:
    """Array that scikit-learn's check passes, of what is like one."""
    name = options.get("input_name", "X")
    check_array_like(array, name)
    # scikit-learn adds numbers up to find those that are not finite.
    with np.errstate(over="ignore", invalid="ignore"), _names_told(array, name):
        return _check_array(array, **options)


def validate_data(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """Samples, and targets if given, that scikit-learn's validation passes, of samples that are like an array."""
    check_array_like(X)
    with np.errstate(over="ignore", invalid="ignore"), _names_told(X, "X"):
        return _validate_data(estimator, X, *y, **options)


def check_array_like(array: Any, name: str = "X") -> None:
    """Refuse files, streams, dates, records and masks, which would be taken for numbers, or for nothing that is told.

    Raises
    ------
    TypeError
        If `array` is the path of a file, or no array but something that holds or yields samples.
    ValueError
        If it is a sparse tensor, a list of samples with their targets, or an array of complex numbers, of dates, of
        records, or of entries some of which are masked, or of X ``pandas.NA``.
    """
    if isinstance(array, str | PathLike):
        raise TypeError(
            f"{name} is {str(array)!r}, but what it holds is needed. Load it, for example by numpy.load(path, "
            "mmap_mode='r') or pandas.read_csv(path); a memory map larger than memory is read in chunks."
        )
    if not _is_array_like(array):
        raise TypeError(
            f"{name} is a {type(array).__name__}, but an array with one row a sample is needed. DRMLTransformer and "
            "HRAMLTransformer also take a map-style Dataset, or a DataLoader over one. RAMLLinear and HRAMLTransformer "
            "learn from batches (X, y): fit(skrelmetric.chunks.Chunks(source)), of a DataLoader or another iterable "
            "that can be gone through again, or a function that returns a new generator."
        )
    first = array[0] if isinstance(array, list | tuple) and len(array) else None
    if isinstance(first, PathLike) or type(first).__module__.startswith("PIL."):
        opened = "PIL.Image.open(image)" if isinstance(first, PathLike) else "image"
        raise TypeError(
            f"{name} is a {type(array).__name__} of {type(first).__name__}, but numbers are needed. Pass a "
            "torch.utils.data.Dataset whose items are tensors to DRMLTransformer or HRAMLTransformer; or the images as "
            f"an array: numpy.stack([numpy.asarray({opened}.convert('RGB')) for image in {name}]).transpose(0, 3, 1, 2)"
            ", where all have one size."
        )
    if _is_of_items(array):
        raise ValueError(
            f"{name} is a {type(array).__name__} of items (x, y). Pass samples and targets apart: fit(X, y). "
            "DRMLTransformer and HRAMLTransformer take items of a data set, as torch.utils.data.Dataset is one."
        )
    if str(getattr(array, "layout", "torch.strided")) != "torch.strided":
        raise ValueError(f"{name} is a tensor of layout {array.layout}. Pass {name}.to_dense(), or a scipy matrix.")
    if "complex" in str(getattr(array, "dtype", "")):
        raise ValueError(
            f"Complex data not supported: {name} is {array.dtype}. Pass its parts as columns of their own."
        )
    framed = hasattr(array, "columns") and hasattr(array, "dtypes")
    dtypes = [str(dtype) for dtype in (array.dtypes if framed else [getattr(array, "dtype", "")])]
    dated = [place for place, dtype in enumerate(dtypes) if dtype.lower().startswith(("date", "time", "duration"))]
    if dated:
        columns = [array.columns[place] for place in dated] if framed else []
        column = f"{name}[{columns[0]!r}]" if framed else name
        raise ValueError(
            f"{name} holds {dtypes[dated[0]]}{_in_columns(columns)}, but numbers are needed. Say which, for example "
            f"days since a date: ({column} - start) / numpy.timedelta64(1, 'D')."
        )
    if getattr(getattr(array, "dtype", None), "names", None):
        raise ValueError(
            f"{name} holds records of the fields {list(array.dtype.names)}, but one column for each is needed: "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})."
        )
    if np.ma.is_masked(array):
        raise ValueError(
            f"{name} has masked entries, and what is below the mask would count. Pass {name}.astype(float).filled("
            "numpy.nan) where missing ones are taken, or fill them in."
        )
    if name == "X" and "object" in dtypes and any(type(entry).__name__ == "NAType" for entry in np.ravel(array)):
        raise ValueError(
            "X holds pandas.NA. Fill in what is missing: pandas.DataFrame(X).astype('Float64') goes into "
            "sklearn.impute.SimpleImputer."
        )


def plain_targets(y: Any, *, numeric: bool = False, some_named: bool = False) -> Any:
    """Targets with NaN for what is missing, as an array where they are a list, a numpy array or a data frame.

    None, ``pandas.NA`` and NaN among numbers are missing alike; beside names they may stay where only `some_named` are.

    Raises
    ------
    TypeError, ValueError
        As `check_array_like` does; and if they are label lists of different lengths, sparse and one-dimensional, names
        some of which are missing or mixed with fractions, or anything but numbers where these are needed.
    """
    if y is None:
        return y
    _check_not_ragged(y)
    check_array_like(y, "y")
    if sparse.issparse(y) and y.ndim != 2:
        raise ValueError(f"y is sparse of shape {y.shape}, but (n_samples, n_outputs) is needed. Pass y.toarray().")
    framed = type(y).__module__.split(".")[0] in ("pandas", "polars")
    if sparse.issparse(y) or is_dask(y) or not (framed or isinstance(y, np.ndarray | list | tuple)):
        return y
    values = np.asarray(y)
    if values.dtype.kind == "O":
        if any(isinstance(value, list | set | frozenset | np.ndarray) for value in values.flat):  # tuples are classes
            raise _no_columns()
        values = _without_gaps(values, some_named)
    if numeric and values.dtype.kind in "OSU":
        name = next((value for value in values.flat if isinstance(value, str | bytes)), None)
        if name is not None:
            raise ValueError(
                f"y holds {str(name)!r}, but numbers are needed. Pass y.astype(float) where strings are numbers, "
                "or use a classifier for names of classes."
            )
    return values


def _without_gaps(values: np.ndarray, some_named: bool) -> np.ndarray:
    """Objects, or numbers with NaN for those that are missing."""
    missing = np.fromiter(map(is_missing, values.flat), bool, values.size).reshape(values.shape)
    known = values[~missing]
    if any(isinstance(value, str) for value in known):
        fraction = next((value for value in known if isinstance(value, float) and value % 1), None)
        if (missing.any() and not some_named) or fraction is not None:
            what = f"numbers such as {fraction}" if fraction is not None else f"missing ones ({values[missing][0]!r})"
            raise ValueError(
                f"Unknown label type: y holds names of classes, but also {what}. Leave samples without a name out, or "
                "name what is missing; pass numbers apart from names."
            )
    if not missing.any():
        return values
    numbers = np.full(values.shape, np.nan)
    try:
        numbers[~missing] = known.astype(np.float64)
    except (TypeError, ValueError):  # what they are is told where they are sorted
        return values
    return numbers


def is_missing(value: Any) -> bool:
    """Whether an entry stands for one that is missing: None, NaN or ``pandas.NA``."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_data_set(X: Any) -> bool:
    """Whether samples are a data set or loader of torch, or anything else that has a length and items but is no array.

    Their items are loaded when they are asked for.
    """
    kind = type(X)
    if _is_of_torch(X):
        return hasattr(kind, "__getitem__") or hasattr(X, "dataset")
    arrays = ("shape", "__array__", "__array_interface__", "keys", "collect")
    return (
        hasattr(kind, "__len__")
        and hasattr(kind, "__getitem__")
        and not isinstance(X, _SEQUENCES)
        and not any(hasattr(X, name) for name in arrays)
    )


def _is_of_torch(array: Any) -> bool:
    return any(kind.__module__.startswith("torch.utils.data") for kind in type(array).__mro__)


def _is_array_like(array: Any) -> bool:
    """Whether something has rows that can be looked at: arrays, frames and sequences, but no data sets of torch."""
    if hasattr(array, "collect") or _is_of_torch(array):
        return False  # a lazy frame, or samples that come one by one
    if hasattr(array, "shape") or hasattr(array, "__array__") or not hasattr(array, "__iter__"):
        return True  # what cannot be gone through is told by scikit-learn
    return hasattr(array, "__getitem__") and not hasattr(array, "keys")


def _is_of_items(array: Any) -> bool:
    """Whether a list begins with a sample and its target, which would make an array of no shape."""
    first = array[0] if isinstance(array, list | tuple) and array else None
    return isinstance(first, tuple) and len(first) == 2 and bool(np.shape(first[0])) and not np.shape(first[1])


def _check_not_ragged(y: Any) -> None:
    rows = [row for row in y if isinstance(row, list | tuple | set | frozenset)] if isinstance(y, list | tuple) else []
    if any(isinstance(row, set | frozenset) for row in rows) or len({len(row) for row in rows}) > 1:
        raise _no_columns()


def _no_columns() -> ValueError:
    return ValueError(
        "y holds a list or a set of labels for each sample, but a (n_samples, n_labels) array is needed. "
        "sklearn.preprocessing.MultiLabelBinarizer turns them into a 0/1 label indicator."
    )


@contextmanager
def _names_told(array: Any, name: str) -> Iterator[None]:
    """Errors about strings that are no numbers, with the columns that hold them and what to do."""
    try:
        yield
    except ValueError as error:
        if "could not convert string to float" not in str(error):
            raise
        raise ValueError(
            f"{name} holds strings{_in_columns(_columns_of_names(array))}, but numbers are needed ({error}). Encode "
            "names and categories before, for example by sklearn.preprocessing.OneHotEncoder() in "
            "sklearn.compose.make_column_transformer."
        ) from error


def _columns_of_names(array: Any) -> list[Any]:
    """Columns with an entry that is no number, by name or place."""
    entries = np.asarray(array, dtype=object)
    if entries.ndim != 2:
        return []
    named = []
    for column, values in zip(getattr(array, "columns", range(entries.shape[1])), entries.T, strict=True):
        try:
            values.astype(np.float64)
        except (TypeError, ValueError):
            named.append(column)
    return named


def _in_columns(columns: list[Any]) -> str:
    return f" in column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns))}" if columns else ""
