"""Pictures of what was recorded: tables in, the bytes of a PNG out."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def png(figure: "Figure") -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def lemma(table: "DataFrame") -> bytes:
    """Coverage less 1 against what a policy lacks, and the line that it stays below: a panel a β."""
    from matplotlib.figure import Figure

    groups = list(table[table["gap"] > 0].groupby("beta"))
    figure = Figure(figsize=(4 * len(groups), 4), layout="constrained")
    for axes, (beta, rows) in zip(
        figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True
    ):
        rows = rows.sort_values("gap")
        axes.loglog(rows["gap"] / beta, rows["coverage"] - 1, ".", ms=2, label="instances")
        axes.loglog(rows["gap"] / beta, rows["bound"] - 1, "k-", lw=1, label="bound of Lemma 3.1")
        axes.set(title=f"β = {beta:g}", xlabel="[J(π*) − J(π)] / β", ylabel="Cov(π* | π) − 1")
        axes.legend(loc="upper left", frameon=False)
    return png(figure)
