"""Pictures of what was recorded: tables in, the bytes of a PNG out."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def error_rates(table: "DataFrame") -> bytes:
    """False claims of simulated boards by the number of seeds, a panel a number of prompts; the band is
    what 1,000 boards leave of 5 %."""
    from matplotlib.figure import Figure

    groups = list(table.groupby("prompts"))
    figure = Figure(figsize=(4 * len(groups), 4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, (prompts, rows) in zip(panels, groups, strict=True):
        axes.axhspan(0.036, 0.064, color="0.9")
        for world, line in rows.groupby("world", sort=False):
            axes.plot(line["seeds"], line["false"], "o-", ms=4, label=str(world).replace("_", " "))
        axes.set(title=f"{prompts} prompts", xlabel="seeds", ylabel="falsely called different")
        axes.set_yscale("log")
    panels[0].legend(frameon=False)
    return png(figure)


def training(log: "DataFrame") -> bytes:
    """A run as its training log tells it: validation, and of what picked answers for the policy the
    shares, win rates, coverage and value gaps by round."""
    from matplotlib.figure import Figure

    rounds = log.set_index("step").filter(like="arms/").dropna(how="all")
    kinds = {
        name.split("/")[1]: rounds.filter(like=name.rpartition("/")[0] + "/") for name in rounds
    }
    colours = {name.split("/")[2]: f"C{i}" for i, name in enumerate(kinds.get("share", ()))}
    columns = 1 + (len(kinds) + 1) // 2
    figure = Figure(figsize=(4 * columns, 6), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False).T.flatten()
    checked = log[log["validation/score"].notna()]
    judge = "gold" if "validation/gold" in log else "held_out"
    for axes, name in zip(panels[:2], (judge, "kl"), strict=True):
        axes.plot(checked["step"], checked[f"validation/{name}"], "o-", ms=3)
        axes.set(title=f"{name}, validation", xlabel="updates")
    for axes, (kind, table) in zip(panels[2:], kinds.items(), strict=False):
        draw_arms(axes, kind, table, {**colours, "null": "0.6"})
        if kind == "share":
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return png(figure)


COMPARED = {  # column of a training log -> how its panel is called
    "validation/gold": "gold, validation",
    "validation/held_out": "held-out reward, validation",
    "rollout/reward": "the reward learned from, samples",
    "validation/kl": "KL to the SFT model, validation (nats)",
    "rollout/length": "tokens of a sample",
}


def compared(logs: "Mapping[str, DataFrame]") -> bytes:
    """Several runs by update, a panel a quantity that some of them have, a colour a recipe. Names are
    those of runs: RECIPE-HASH."""
    from matplotlib.figure import Figure

    recipes = {name: name.rpartition("-")[0] for name in logs}
    colours = {recipe: f"C{i}" for i, recipe in enumerate(dict.fromkeys(recipes.values()))}
    shown = {x: title for x, title in COMPARED.items() if any(x in log for log in logs.values())}
    figure = Figure(figsize=(4 * len(shown), 3.6), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (column, title) in zip(panels, shown.items(), strict=True):
        for name, log in logs.items():
            if column in log:
                points = learned(log)[["step", column]].dropna()
                axes.plot(points["step"], points[column], color=colours[recipes[name]], lw=1.2)
        axes.set(title=title, xlabel="updates")
    for recipe, colour in colours.items():
        panels[0].plot([], [], color=colour, label=recipe)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=8)
    return png(figure)


def overoptimized(tables: "Mapping[str, DataFrame]") -> bytes:
    """Gold, solid, and the reward learned from, dashed, by distance from the SFT model; dotted the law
    that was fitted to gold. Best-of-n of the SFT models, then trainings, a colour a recipe; names are
    those of runs."""
    from matplotlib.figure import Figure

    recipes = {name: name.rpartition("-")[0] for name in tables}
    colours = {recipe: f"C{i}" for i, recipe in enumerate(dict.fromkeys(recipes.values()))}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = dict(zip(("best_of_n", "training"), figure.subplots(1, 2), strict=True))
    drawn: set[tuple[float, ...]] = set()
    for name, table in tables.items():
        for who, rows in table.groupby("who"):
            start = tuple(rows["gold"])
            if start in drawn:  # runs of one seed share their SFT model
                continue
            drawn.add(start)
            colour = "0.2" if who == "best_of_n" else colours[recipes[name]]
            d, base = rows["kl"] ** 0.5, (rows["gold"] - rows["gained"]).iloc[0]
            axes[who].plot(d, rows["gold"], "o-", ms=3, lw=1.2, color=colour)
            axes[who].plot(d, rows["proxy"], "--", lw=1, color=colour, alpha=0.6)
            axes[who].plot(d, base + rows["law"], ":", lw=1, color=colour)
    axes["best_of_n"].set(title="best of n answers of the SFT model", ylabel="reward")
    axes["training"].set(title="training, validation prompts")
    for panel in axes.values():
        panel.set(xlabel="√KL from the SFT model, √nats")
    for recipe, colour in colours.items():
        axes["training"].plot([], [], color=colour, label=recipe)
    for style, what in (("-", "gold"), ("--", "reward learned from"), (":", "law fitted to gold")):
        axes["training"].plot([], [], style, color="0.2", label=what)
    figure.legend(
        *axes["training"].get_legend_handles_labels(), loc="outside lower center", ncols=8
    )
    return png(figure)


def learned(log: "DataFrame") -> "DataFrame":
    """Without the updates of a critic that learned alone before the policy did."""
    return log[log["stage"] == log["stage"].iloc[-1]] if "stage" in log else log


def draw_arms(axes: "Axes", kind: str, table: "DataFrame", colours: dict[str, str]) -> None:
    """One quantity of all arms by round, shares stacked."""
    places, below = range(1, len(table) + 1), 0.0
    for name, values in table.items():
        arm = name.split("/")[2]
        if kind == "share":
            axes.bar(places, values, bottom=below, color=colours[arm], label=arm)
            below = below + values.to_numpy()
        else:
            axes.plot(places, values, "o-", ms=4, color=colours[arm], label=arm)
    axes.set(title=kind.replace("_", " "), xlabel="round", xticks=places)
    if kind == "coverage":
        axes.set_yscale("log")
