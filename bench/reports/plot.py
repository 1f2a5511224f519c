"""Pictures of what was recorded: tables in, the bytes of a PNG out."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def training(log: "DataFrame") -> bytes:
    """A run as its training log tells it: validation, and where there are sources their shares, win rates,
    coverage and value gaps by round."""
    from matplotlib.figure import Figure

    rounds = log.set_index("step").filter(like="arms/").dropna(how="all")
    kinds = list(dict.fromkeys(name.split("/")[1] for name in rounds))
    count = 2 + len(kinds)
    figure = Figure(figsize=(3.4 * count, 3.4), layout="constrained")
    first, second, *others = figure.subplots(1, count)
    checked = log[log["validation/score"].notna()]
    judge = "gold" if "validation/gold" in log else "held_out"
    for axes, name in ((first, judge), (second, "kl")):
        axes.plot(checked["step"], checked[f"validation/{name}"], "o-", ms=3)
        axes.set(title=f"{name}, validation", xlabel="updates")
    for axes, kind in zip(others, kinds, strict=True):
        draw_arms(axes, kind, rounds.filter(like=f"arms/{kind}/"))
    return png(figure)


def draw_arms(axes: "Axes", kind: str, table: "DataFrame") -> None:
    """One quantity of all arms, a round a place: shares stacked, the others side by side."""
    places = range(1, len(table) + 1)
    below = 0.0
    for i, (name, values) in enumerate(sorted(table.items())):
        arm = name.split("/", 2)[2]
        colour = "0.6" if arm == "null" else f"C{i}"
        if kind == "share":
            axes.bar(places, values, bottom=below, color=colour, label=arm)
            below = below + values.to_numpy()
        else:
            axes.plot(places, values, "o-", ms=3, color=colour, label=arm)
    axes.set(title=kind.replace("_", " "), xlabel="round", xticks=places)
    if kind == "coverage":
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize="small")
