"""Tables in Markdown, in LaTeX and in the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from benchmarks.show.formats import Cell, Table, exported, in_terminal

TABLE = Table(
    "a_b: 50% & more #1",
    ("", "Hamming\nloss ↓", "Won/\nlost"),
    (
        (Cell("RAML & HRAML_x"), Cell("0.1000\n±0.0200", "bold"), Cell("0.5")),
        (Cell("  in the paper", "dim"), Cell("0.3", "dim"), Cell("", "dim")),
        (Cell("a|b*{c}\\d^~<$"), Cell("failed"), Cell("0.5 ↑ –")),
    ),
    "Left out: x_y.",
)

MARKDOWN = r"""**a\_b: 50% & more #1**

|  | Hamming loss ↓ | Won/lost |
| --- | ---: | ---: |
| RAML & HRAML\_x | **0.1000** ±0.0200 | 0.5 |
| *in the paper* | *0.3* |  |
| a\|b\*{c}\\d^\~\<$ | failed | 0.5 ↑ – |

Left out: x\_y."""

LATEX = r"""\begin{table}
\caption{a\_b: 50\% \& more \#1}
\begin{tabular}{lrr}
\toprule
 & Hamming loss $\downarrow$ & Won/lost \\
\midrule
RAML \& HRAML\_x & \textbf{0.1000} $\pm$0.0200 & 0.5 \\
\textit{in the paper} & \textit{0.3} &  \\
a|b*\{c\}\textbackslash{}d\textasciicircum{}\textasciitilde{}$<$\$ & failed & 0.5 $\uparrow$ -- \\
\bottomrule
\end{tabular}
\par Left out: x\_y.
\end{table}"""


@pytest.mark.parametrize(("form", "text"), [("markdown", MARKDOWN), ("latex", LATEX)])
def test_text(form, text):
    assert exported(TABLE, form) == text


def test_no_caption_leaves_no_trace():
    bare = TABLE._replace(caption="")
    assert exported(bare, "markdown") == MARKDOWN.removesuffix("\n\nLeft out: x\\_y.")
    assert exported(bare, "latex") == LATEX.replace("\\par Left out: x\\_y.\n", "")


def test_unknown_format():
    with pytest.raises(ValueError, match=r"no format 'html'. Choose one of \['markdown', 'latex'\]"):
        exported(TABLE, "html")


def test_terminal_has_the_same_words():
    drawn = in_terminal(TABLE)
    assert (drawn.title, drawn.caption) == (TABLE.title, TABLE.caption)
    assert tuple(column.header for column in drawn.columns) == TABLE.columns
    columns = [list(column.cells) for column in drawn.columns]
    assert [[str(cell) for cell in row] for row in zip(*columns, strict=True)] == [
        [cell.text for cell in row] for row in TABLE.rows
    ]
    best = columns[1][0]
    assert (str(best.style), [str(span.style) for span in best.spans]) == ("bold", ["not bold"])


def test_no_number_is_cut_in_a_narrow_terminal():
    figures = tuple(f"0.{place}234" for place in range(9))
    table = Table("t", ("", *["Average\nprecision ↑"] * 9), ((Cell("RAMLLinear + MLkNN"), *map(Cell, figures)),))
    for width in (40, 80, 200):
        console = Console(width=width, file=StringIO())
        console.print(in_terminal(table, width), crop=False)
        printed = console.file.getvalue()
        assert all(figure in printed for figure in figures)
        assert "…" not in printed
        assert ("RAMLLinear + MLkNN" in printed) == (width == 200), "names break first"
    narrow = Table("t", ("", "A criterion"), ((Cell("name"), Cell("0.5")),))
    assert in_terminal(narrow, 80).width is None
