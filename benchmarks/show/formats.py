"""Formats of tables: for the terminal, Markdown and LaTeX."""

from collections.abc import Callable
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text


class Cell(NamedTuple):
    """Words of a cell, and the style of their first line: "bold" for the best, "dim" for what others published."""

    text: str
    style: str = ""


class Table(NamedTuple):
    """Table in words; the first column names the rows, and lines in a cell or a heading stand below each other."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


_NAMES = 12
"""Least width of the column of names, so that one breaks between words."""


def in_terminal(table: Table, width: int = 80) -> RichTable:
    """Table as rich prints it, wider than `width` where its numbers would have no room: none of them is cut."""
    widths = _widths(table, width)
    drawn = RichTable(
        title=table.title,
        title_justify="left",
        caption=table.caption or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for place, heading in enumerate(table.columns):
        drawn.add_column(heading, justify="right" if place else "left", width=widths[place])
    needed = sum(widths) + _between(widths)
    drawn.width = needed if needed > width else None
    for row in table.rows:
        drawn.add_row(*(_in_terminal(cell) for cell in row))
    return drawn


def _widths(table: Table, width: int) -> list[int]:
    """Widths of columns: those of their lines, or, where these have no room, of their words."""
    columns = [[heading, *(row[place].text for row in table.rows)] for place, heading in enumerate(table.columns)]
    names, *others = ([line for text in texts for line in text.split("\n")] for texts in columns)
    found = [max(map(len, lines)) for lines in others]
    if _NAMES + sum(found) + _between(columns) > width:
        found = [max(len(word) for line in lines for word in line.split() or [""]) for lines in others]
    room = width - sum(found) - _between(columns)
    return [min(max(map(len, names)), max(_NAMES, room)), *found]


def _between(columns: list) -> int:
    """Width of edges, and of a blank and a line between columns."""
    return 2 + 2 * (len(columns) - 1)


def _in_terminal(cell: Cell) -> Text:
    first, *others = cell.text.split("\n")
    text = Text(first, style=cell.style)
    for line in others:
        text.append(f"\n{line}", style=f"not {cell.style}" if cell.style else "")
    return text


# Text

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`<~"})

_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "²": "$^2$",
        "–": "--",
    }
)


def _markdown(table: Table) -> str:
    styles = {"": "{}", "bold": "**{}**", "dim": "*{}*"}
    lines = [
        [_line(heading, _MARKDOWN) for heading in table.columns],
        ["---", *["---:"] * (len(table.columns) - 1)],
        *([_styled(cell, styles, _MARKDOWN) for cell in row] for row in table.rows),
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"**{table.title.translate(_MARKDOWN)}**", body, table.caption.translate(_MARKDOWN)]
    return "\n\n".join(filter(None, parts))


def _latex(table: Table) -> str:
    styles = {"": "{}", "bold": r"\textbf{{{}}}", "dim": r"\textit{{{}}}"}
    headings = [_line(heading, _LATEX) for heading in table.columns]
    rows = [[_styled(cell, styles, _LATEX) for cell in row] for row in table.rows]
    lines = [
        r"\begin{table}",
        rf"\caption{{{table.title.translate(_LATEX)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par {table.caption.translate(_LATEX)}"] if table.caption else []),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(heading: str, signs: dict[int, str]) -> str:
    """Heading in one line."""
    return heading.replace("/\n", "/").replace("\n", " ").translate(signs)


def _styled(cell: Cell, styles: dict[str, str], signs: dict[int, str]) -> str:
    """Cell in one line, of which the first line has the style."""
    first, *others = (line.strip().translate(signs) for line in cell.text.split("\n"))
    return " ".join([styles[cell.style].format(first) if first else "", *others])


FORMATS: dict[str, Callable[[Table], str]] = {"markdown": _markdown, "latex": _latex}
"""Formats of tables in text, LaTeX's for the package booktabs."""


def exported(table: Table, form: str) -> str:
    """Table as text.

    Parameters
    ----------
    table : Table
    form : {"markdown", "latex"}
        Format.

    Raises
    ------
    ValueError
        If the format is not known.
    """
    if form not in FORMATS:
        raise ValueError(f"Tables have no format {form!r}. Choose one of {list(FORMATS)}.")
    return FORMATS[form](table)
