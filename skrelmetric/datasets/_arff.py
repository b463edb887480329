"""Tables in ARFF, and the names of their labels in XML, packed as .gz or not."""

import gzip
import re
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import arff
import numpy as np


class Labelled(NamedTuple):
    """Features and label sets of samples, with the names of both."""

    X: np.ndarray
    Y: np.ndarray
    feature_names: list[str]
    target_names: list[str]


def read_labelled(tables: list[Path], labels: Path) -> Labelled:
    """Label sets of one or several tables of the same columns, one below the other.

    Parameters
    ----------
    tables : list of Path
        ARFF files, dense or sparse. Nominal columns hold numbers, their codes.
    labels : Path
        XML file that names the columns of labels, wherever they stand. Their order is that of the columns.

    Returns
    -------
    Labelled
        ``X`` is float64, ``Y`` int64 and 0 or 1.
    """
    with _opened(labels) as file:
        named = [element.attrib["name"] for element in ElementTree.parse(file).getroot()]
    read = [_read_numbers(table) for table in tables]
    names = np.array(read[0][0])
    is_label = np.isin(names, named)
    table = np.vstack([values for _, values in read])
    X, Y = table[:, ~is_label], table[:, is_label].astype(np.int64)
    return Labelled(X, Y, names[~is_label].tolist(), names[is_label].tolist())


def read_one_hot(table: Path) -> tuple[list[str], np.ndarray]:
    """Names and values of the columns of a dense ARFF file, with a column for each value of a nominal one.

    Parameters
    ----------
    table : Path
        ARFF file. Quotes and blanks in the names of its columns are left out.

    Returns
    -------
    names : list of str
        Names of columns, and "name=value" for the values of a nominal column, in the order that the file declares.
    values : ndarray of shape (n_samples, n_columns), float64
        Numbers, and 1 where a nominal column has the value, 0 elsewhere.
    """
    content = arff.loads(_text(table))
    names: list[str] = []
    columns: list[np.ndarray] = []
    for (quoted, kind), entries in zip(content["attributes"], zip(*content["data"], strict=True), strict=True):
        name = re.sub(r"[\s'\"]", "", quoted)
        is_nominal = isinstance(kind, list)
        names += [f"{name}={value}" for value in kind] if is_nominal else [name]
        columns += [np.equal(entries, value) for value in kind] if is_nominal else [np.array(entries)]
    return names, np.column_stack(columns).astype(np.float64)


def _read_numbers(table: Path) -> tuple[list[str], np.ndarray]:
    """Column names and the dense table of an ARFF file in either of its formats."""
    text = _text(table)
    is_sparse = text.split("@data", 1)[-1].lstrip().startswith("{")
    content = arff.loads(text, return_type=arff.LOD if is_sparse else arff.DENSE)
    names = [name for name, _ in content["attributes"]]
    if not is_sparse:
        return names, np.array(content["data"], dtype=np.float64)
    values = np.zeros((len(content["data"]), len(names)))
    for row, entries in zip(values, content["data"], strict=True):
        row[list(entries)] = list(entries.values())
    return names, values


def _text(path: Path) -> str:
    with _opened(path) as file:
        return file.read().decode("utf-8")


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
