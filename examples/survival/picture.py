"""Draw the outage with and without stale serving: what share of the reads was answered, and how old it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from examples.survival.log import STEP, shares
from examples.survival.phases import KILLED, spans

__all__ = ["draw"]

ROWS = {
    "bare": "bare client, which waits up to 5 s",
    "pipeline": "with a pipeline, 0.4 s for each attempt",
    "cached": "with the same pipeline and stale answers",
}

INK, PAPER, RULE = "#1f2328", "#ffffff", "#d0d7de"
FRESH, STALE, FAILED, AGE, SHADE = "#3b82c4", "#e0a030", "#efb8b0", "#8250a8", "#e6e9ec"

# On a paper of its own, so that it reads alike on a light and on a dark page.
STYLE = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": RULE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "survival",
}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a result of `run.survive` into a file; its suffix says what kind."""
    seconds = result["seconds"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 6.2), layout="constrained")
        rows = figure.subplots(len(ROWS) + 1, 1, sharex=True, height_ratios=(*(1 for _ in ROWS), 0.9))
        for axes, (name, title) in zip(rows, ROWS.items(), strict=False):
            _answered(axes, title, result["readers"][name]["series"])
        _ages(rows[-1], result["readers"]["cached"]["series"])
        for axes in rows:
            _phases(axes, seconds)
        _names(rows[0], seconds)
        rows[-1].set_xlim(0, seconds)
        rows[-1].set_xlabel("seconds")
        handles, labels = rows[-2].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None)


def _answered(axes: Axes, title: str, series: Sequence[Sequence[float]]) -> None:
    times, fresh, stale = shares(series)
    answered = [one + other for one, other in zip(fresh, stale, strict=True)]
    layers = (
        ("fresh", FRESH, fresh),
        ("stale, with its age", STALE, answered),
        ("failed", FAILED, [100.0] * len(times)),
    )
    low = [0.0] * len(times)
    for label, colour, high in layers:
        axes.fill_between(*_steps(times, low, high), color=colour, label=label, linewidth=0)
        low = high
    axes.set_title(title)
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of reads")


def _ages(axes: Axes, series: Sequence[Sequence[float]]) -> None:
    ages = [row[4] for row in series]
    axes.fill_between(*_steps([row[0] for row in series], [0.0] * len(ages), ages), color=AGE, linewidth=0)
    axes.set_title("greatest age that these answers showed")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MultipleLocator(5))


def _steps(times: Sequence[float], *heights: Sequence[float]) -> list[list[float]]:
    """Return corners, so that each value stands for its half second."""
    corners = [edge for time in times for edge in (time, time + STEP)]
    return [corners, *([value for value in values for _ in range(2)] for values in heights)]


def _phases(axes: Axes, seconds: float) -> None:
    """Shade the time without a shop, and draw a line where a phase ends."""
    axes.spines[["top", "right"]].set_visible(False)
    for phase, begin, end in spans(seconds):
        axes.axvline(end, color=INK, linewidth=0.6, linestyle=(0, (2, 2)))
        if phase.name == KILLED:
            axes.axvspan(begin, end, color=SHADE, linewidth=0, zorder=0)


def _names(axes: Axes, seconds: float) -> None:
    """Name the phases in a band above the first row."""
    place = axes.get_xaxis_transform()
    for phase, begin, end in spans(seconds):
        dark = phase.name == KILLED
        band = Rectangle((begin, 1.26), end - begin, 0.26, transform=place, color=INK if dark else SHADE, clip_on=False)
        band.set_edgecolor(PAPER)
        axes.add_patch(band)
        middle, colour = (begin + end) / 2, PAPER if dark else INK
        axes.text(middle, 1.38, phase.name, transform=place, ha="center", va="center", color=colour, size=8.5)
