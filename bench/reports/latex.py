"""The board for a paper: a floating table a task, of booktabs."""

from collections.abc import Sequence

from .board import COLUMNS, Board, Column, Row, Table
from .estimates import Cell
from .render import mark, number, present

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$\dagger$",
    "·": r"$\cdot$",
    "<": r"$<$",
    ">": r"$>$",
    "…": r"\dots{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def escaped(words: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(c, c) for c in " ".join(words.split()))


def to_latex(found: Board) -> str:
    """Every table with the columns of the terminal; needs \\usepackage{booktabs}."""
    tables = [latex_table(t) for t in found.tables if any(r.section != "failed" for r in t.rows)]
    return "\n".join(tables or ["% No records yet.\n"])


def latex_table(t: Table) -> str:
    rows = [r for r in t.rows if r.section != "failed"]
    columns = [c for c in present(rows, COLUMNS) if c.short]
    titles = ["", "recipe", "seeds", "beats SFT", *(c.title for c in columns)]
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escaped('. '.join([t.task, *t.about, *t.notes]))}}}",
        rf"\begin{{tabular}}{{llr{'r' * (len(titles) - 3)}}}",
        r"\toprule",
        " & ".join(map(escaped, titles)) + r" \\",
    ]
    section = None
    for row in rows:
        lines += [r"\midrule"] if row.section != section else []
        section = row.section
        lines.append(" & ".join(entries(row, columns)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def entries(row: Row, columns: Sequence[Column]) -> list[str]:
    verdict = row.overall.verdict if row.overall else row.beats_sft or "-"
    head = [mark(row), row.recipe, str(len(row.seeds)), verdict]
    return [*map(escaped, head), *(entry(row.cells.get(c.key), c.decimals) for c in columns)]


def entry(cell: Cell | None, decimals: int) -> str:
    if cell is None:
        return "-"
    value = escaped(number(cell.value, decimals))
    if cell.low is None:
        return value
    return rf"{value} {{\tiny$\pm${number((cell.high - cell.low) / 2, decimals)}}}"
