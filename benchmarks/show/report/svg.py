"""SVG of figures as elements of the page, whose colours follow those of the page."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

_INK, _LINE = "#010203", "#010204"

_VARIABLES = {
    _INK: "var(--ink)",
    _LINE: "var(--axis)",
    "#8c8c8c": "var(--muted)",
    "#0072b2": "var(--data-0)",
    "#e69f00": "var(--data-1)",
    "#009e73": "var(--data-2)",
    "#d55e00": "var(--data-3)",
    "#56b4e9": "var(--data-4)",
    "#cc79a7": "var(--data-5)",
}
"""Colours as drawn, and the variable of the page that stands for each: matplotlib takes no names of variables."""

_STYLE: Any = {  # matplotlib's types have names of parameters as literals
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "font.size": 10.5,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # names of methods may hold dollars
    "xtick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
}

_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_PATHS = 50


@contextmanager
def style(name: str) -> Iterator[None]:
    """Style of the page, whatever the user's is, for figures that are drawn and inlined within.

    Parameters
    ----------
    name : str
        Begin of the ids of the figure.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # browsers have fonts of their own
        yield


def inlined(figure: Figure, label: str, name: str) -> Markup:
    """SVG of a figure as an element of the page: no ids, styles or addresses but its own."""
    written = BytesIO()
    figure.savefig(written, format="svg", bbox_inches="tight", pad_inches=0.05)
    root = ElementTree.fromstring(written.getvalue())
    for group in list(root.iter(f"{_SVG}g")):
        _share_shapes(group)
    shared = {shape.get("id") for shape in root.iter(f"{_SVG}path")} - {None}
    used = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", written.getvalue().decode())) | shared
    for element in list(root.iter()):
        for child in [child for child in element if child.tag.rpartition("}")[2] in ("metadata", "style")]:
            element.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        element.text = element.text if (element.text or "").strip() else None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key != "id" or value in used:
                element.set(key.rpartition("}")[2], _attribute(key.rpartition("}")[2], value, name))
    root.attrib.update({"role": "img", "aria-label": label})
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # ElementTree has escaped all texts


def _share_shapes(group: ElementTree.Element) -> None:
    """Write the shapes of many points once, and of each point only where it is and its colour."""
    paths = group.findall(f"{_SVG}path")
    outlines = {(path.get("clip-path", ""), path.get("style", "").partition("; ")[2]) for path in paths}
    if len(paths) <= _MOST_PATHS or len(outlines) > 1:
        return
    group.attrib.update(zip(("clip-path", "style"), outlines.pop(), strict=True))
    shapes: dict[str, str] = {}
    definitions = ElementTree.Element(f"{_SVG}defs")
    for path in paths:
        drawn, fill = path.get("d", ""), path.get("style", "").partition("; ")[0]
        x, y = map(float, _NUMBER.findall(drawn)[:2])
        offsets = (float(number) - start for number, start in zip(_NUMBER.findall(drawn), cycle((x, y)), strict=False))
        shape = " ".join(_NUMBER.sub("{:.2f}", drawn).split()).format(*offsets)
        if shape not in shapes:
            shapes[shape] = f"{group.get('id')}-shape{len(shapes)}"
            ElementTree.SubElement(definitions, f"{_SVG}path", {"id": shapes[shape], "d": shape})
        where = {"href": f"#{shapes[shape]}", "x": f"{x:.2f}", "y": f"{y:.2f}", "style": fill}
        path.clear()
        path.tag, path.attrib = f"{_SVG}use", where
    group.insert(0, definitions)


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1) if value.startswith("#") else value
    if key in ("d", "x", "y"):
        return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(value.split()))
    value = value.replace("url(#", f"url(#{name}-")
    return re.sub(r"#[0-9a-f]{6}", lambda color: _VARIABLES.get(color[0], color[0]), value) if key == "style" else value
