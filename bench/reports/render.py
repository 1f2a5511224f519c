"""The board on a page, in a terminal, in a spreadsheet: `to_markdown`, `to_terminal`, `to_csv`."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from .board import COLUMNS, MODEL_COLUMNS, Board, Column, Row, Table, count, listed
from .estimates import Cell, Overall, Versus


def number(value: float | None, decimals: int) -> str:
    """Fixed decimals, a real minus sign, and never −0.00."""
    if value is None:
        return "-"
    said = f"{value:.{decimals}f}"
    return said.lstrip("-") if not float(said) else said.replace("-", "−")


def mark(row: Row) -> str:
    match row.section:
        case "ranked":
            return f"{row.rank} {row.letter}"
        case "trained_on":
            return "†"
        case "failed":
            return "failed"
    return ""


def present(rows: Sequence[Row], columns: Iterable[Column]) -> list[Column]:
    """Columns that some row fills; gold always, for its absence is news."""
    return [c for c in columns if c.key == "gold" or any(c.key in r.cells for r in rows)]


# ------------------------------------------------------------------------------ Markdown


def escaped(words: str) -> str:
    """Text that cannot break a cell, a line or the markup of Markdown."""
    words = " ".join(words.split()).replace("\\", "\\\\")
    for mark in "|`*_[]":
        words = words.replace(mark, f"\\{mark}")
    return words.replace("&", "&amp;").replace("<", "&lt;")


def code(words: str) -> str:
    """`words` in a cell, as code."""
    return f"`{' '.join(words.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def markdown_cell(cell: Cell | None, decimals: int) -> str:
    if cell is None:
        return "-"
    decimals += 1
    value = number(cell.value, decimals)
    if cell.low is None:
        return value
    return f"{value}<br><sub>[{number(cell.low, decimals)}, {number(cell.high, decimals)}]</sub>"


def markdown_row(row: Row, columns: Sequence[Column]) -> str:
    name = code(row.recipe)
    if row.section == "control":
        name = f"*{name}*"
    seeds = f"{len(row.seeds)}<br><sub>{listed(row.seeds)}</sub>"
    if row.section == "failed":
        entries = [escaped(row.error), *["-"] * (len(columns) + 1)]
        return "| " + " | ".join([mark(row), name, f"seed {row.seeds[0]}", *entries]) + " |"
    entries = [markdown_cell(row.cells.get(c.key), c.decimals) for c in columns]
    seeds_won = f"<br><sub>{row.beats_sft} seeds</sub>" if row.overall else row.beats_sft or "-"
    entries.insert(1, (row.overall.verdict if row.overall else "") + seeds_won)
    tuned = "yes" if row.tuned else "-" if row.section == "control" else "no"
    return "| " + " | ".join([mark(row), name, seeds, *entries, tuned]) + " |"


def to_markdown(found: Board) -> str:
    """Every table with all columns; bounds under the values."""
    parts = []
    for t in found.tables:
        columns = present(t.rows, COLUMNS)
        titles = [c.title for c in columns]
        titles.insert(1, "beats SFT")
        parts += [f"## {escaped(t.task)}", escaped(" · ".join(t.about))]
        lines = [
            "| " + " | ".join(["rank", "recipe", "seeds", *titles, "tuned"]) + " |",
            "|" + "|".join([":--", ":--", ":-:", *["--:"] * len(titles), ":-:"]) + "|",
        ]
        width = len(titles) + 4
        section = None
        for row in t.rows:
            if row.section != section and row.section in ("control", "failed"):
                title = {"control": "**controls**", "failed": "**failed**"}[row.section]
                lines.append("| | " + title + " |" + " |" * (width - 2))
            section = row.section
            lines.append(markdown_row(row, columns))
        parts += ["\n".join(lines), escaped(" ".join(t.notes))]
        parts += filter(None, [markdown_versus(t)])
        if t.legend:
            parts.append("\n".join(f"- {escaped(line)}" for line in t.legend))
    for t in found.reward_models:
        parts += [f"## {escaped(t.task)}: reward models", markdown_models(t)]
    return "\n\n".join(parts or ["No records yet."]) + "\n"


def markdown_versus(t: Table) -> str:
    """The paired differences to SFT: over all seeds, and a column per seed."""
    rows = [r for r in t.rows if r.versus_sft]
    if not rows:
        return ""
    seeds = sorted({v.seed for r in rows for v in r.versus_sft})
    lines = [
        f"Beats SFT on {t.signal}? Mean paired difference over the same prompts, its interval and the "
        "answer: over all seeds and prompts, where p is corrected for the number of methods "
        "(Benjamini-Hochberg), and for the models of each seed alone:",
        "",
        "| recipe | all seeds | p | " + " | ".join(f"seed {s}" for s in seeds) + " |",
        "|:--|--:|--:|" + "--:|" * len(seeds),
    ]
    for row in rows:
        found = {v.seed: v for v in row.versus_sft}
        whole = [said(row.overall), p_value(row.overall.adjusted)] if row.overall else ["-", "-"]
        entries = [*whole, *(said(found[s]) if s in found else "-" for s in seeds)]
        lines.append("| " + " | ".join([code(row.recipe), *entries]) + " |")
    return "\n".join(lines)


def said(v: Versus | Overall) -> str:
    sign = "+" if v.difference > 0 else ""
    bounds = f"[{number(v.low, 3)}, {number(v.high, 3)}]"
    return f"{sign}{number(v.difference, 3)} {bounds} {v.verdict}"


def p_value(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def markdown_models(t: Table) -> str:
    """How good the reward models of a task are, and what the columns say."""
    columns = [
        c for c in MODEL_COLUMNS if c.key == "accuracy" or any(c.key in row.cells for row in t.rows)
    ]
    lines = [
        "| " + " | ".join(["reward model", "seeds", *(c.title for c in columns)]) + " |",
        "|" + "|".join([":--", ":-:", *["--:"] * len(columns)]) + "|",
    ]
    for row in t.rows:
        numbers = [markdown_cell(row.cells.get(c.key), c.decimals - 1) for c in columns]
        result = [f"failed: {escaped(row.error)}", *[""] * (len(columns) - 1)]
        entries = [code(row.recipe), str(len(row.seeds)), *(result if row.error else numbers)]
        lines.append("| " + " | ".join(entries) + " |")
    return "\n".join([*lines, "", *(f"- {escaped(f'{c.title}: {c.meaning}')}" for c in columns)])


# -------------------------------------------------------------------------------- terminal

PAGE = "`prefzoo publish` (results/README.md)"
SHOWN = 200  # rows of a table but for controls: more are slow to lay out, and nobody scrolls so far
LOOKS = {"control": "dim", "failed": "red", "trained_on": "yellow"}


def terminal_cell(cell: Cell | None, column: Column) -> Text:
    if cell is None:
        return Text("-", style="dim")
    result = Text(number(cell.value, column.decimals))
    if column.interval and cell.low is not None:
        half = number((cell.high - cell.low) / 2, column.decimals)
        result.append(f"±{half.removeprefix('0') if '.' in half else half}", style="dim")
    return result


def terminal_rows(t: Table) -> tuple[list[Row], int]:
    """The rows that are shown, best first, and how many others there are."""
    rows = [row for row in t.rows if row.section != "failed"]
    methods = [row for row in rows if row.section != "control"]
    return [*methods[:SHOWN], *rows[len(methods) :]], len(methods[SHOWN:])


def terminal_table(t: Table) -> Grid:
    columns = [c for c in present(t.rows, COLUMNS) if c.short]
    grid = Grid(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold"
    )
    grid.add_column("", no_wrap=True)
    grid.add_column("recipe", overflow="fold", min_width=12, max_width=24)
    grid.add_column("seeds", justify="right", no_wrap=True)
    for column in columns:
        grid.add_column(column.short, justify="right", no_wrap=True)
        if column.key == "gold":
            grid.add_column("> SFT", justify="right", no_wrap=True)
    section = None
    for row in terminal_rows(t)[0]:
        if section and section != row.section:
            grid.add_section()
        section = row.section
        entries: list[Any] = []
        for column in columns:
            entries.append(terminal_cell(row.cells.get(column.key), column))
            if column.key == "gold":
                entries.append(row.beats_sft or Text("-", style="dim"))
        name = Text(row.recipe + (" (tuned)" if row.tuned else ""))
        seeds = str(len(row.seeds))
        grid.add_row(mark(row), name, seeds, *entries, style=LOOKS.get(row.section))
    return grid


def terminal_legend(tables: Iterable[Table]) -> Iterator[str]:
    """What the columns are, once for all tables; how they were estimated stands elsewhere."""
    rows = [r for t in tables for r in t.rows if r.section != "failed"]
    if not rows:
        return
    above = "seeds whose paired difference to SFT, in what ranks, is above 0"
    words = [("±", "half of the 95 % interval"), ("> SFT", above)]
    shown = [c for c in present(rows, COLUMNS) if c.short]
    words += [(c.short.strip(" ↑"), c.meaning) for c in shown]
    yield " · ".join(f"{name}: {meaning}" for name, meaning in words)
    yield f"signatures and estimators: in the records, and with the tables of {PAGE}"


def to_terminal(found: Board) -> RenderableType:
    """The main metrics, ± half of the interval, for a terminal of 130 columns."""
    parts: list[RenderableType] = []
    for t in found.tables:
        parts += [Text(t.task, style="bold"), Text(" · ".join(t.about), style="dim")]
        if any(r.section != "failed" for r in t.rows):
            parts.append(terminal_table(t))
        if more := terminal_rows(t)[1]:
            parts.append(Text(f"and {count(more, 'row')} more: `prefzoo board format=csv`\n"))
        for row in t.rows:
            if row.section == "failed":
                line = f"[red]failed[/]  {escape(row.recipe)} seed {row.seeds[0]}: "
                parts.append(Text.from_markup(line + escape(" ".join(row.error.split()))))
        if any(r.section == "failed" for r in t.rows):
            parts.append(Text())
        parts += [Text(note) for note in t.notes]
        parts.append(Text())
    parts += [Text(line, style="dim") for line in terminal_legend(found.tables)]
    for t in found.reward_models:
        for row in t.rows:
            numbers = [
                f"{c.short} {number(row.cells[c.key].value, c.decimals)}"
                for c in MODEL_COLUMNS
                if c.short and c.key in row.cells
            ]
            words = row.error or ", ".join(numbers) or "no accuracy"
            seeds = count(len(row.seeds), "seed")
            parts.append(Text(f"{t.task}: reward model {row.recipe} ({seeds}): {words}"))
    return Group(*parts) if parts else Text("No records yet.")


# ------------------------------------------------------------------------------------- CSV


def to_csv(found: Board) -> str:
    """One line per row, every metric with its bounds, unrounded."""
    known = [c.key for c in COLUMNS]
    tables = [*found.tables, *found.reward_models]
    rows = [row for t in tables for row in t.rows]
    extra = sorted({key for row in rows for key in row.cells} - set(known))
    metrics = [*known, *extra]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    bounds = [f"{m}{end}" for m in metrics for end in ("", "_low", "_high")]
    fixed = "table task about signal section rank letter recipe seeds beats_sft tuned error".split()
    against = [f.name for f in fields(Overall)]
    writer.writerow([*fixed, *(f"versus_sft_{name}" for name in against), "versus_sft", *bounds])
    for index, t in enumerate(tables, 1):
        for row in t.rows:
            seeds = " ".join(map(str, row.seeds))
            head = [index, t.task, " · ".join(t.about), t.signal, row.section, row.rank]
            head += [row.letter, row.recipe, seeds, row.beats_sft, row.tuned, row.error]
            head += [_csv(getattr(row.overall, name, None)) for name in against]
            head.append(row.overall.verdict if row.overall else "")
            numbers = [row.cells.get(m, Cell(math.nan)) for m in metrics]
            writer.writerow(head + [_csv(v) for c in numbers for v in (c.value, c.low, c.high)])
    return output.getvalue()


def _csv(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))
