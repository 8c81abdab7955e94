"""The telemetry reference lists the catalogue, word for word, and every logger."""

from __future__ import annotations

from pathlib import Path

from resilient.events import LEVELS
from resilient.telemetry.catalogue import METRICS
from resilient.telemetry.outcomes import OUTCOMES

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


def table() -> str:
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for name, metric in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        text = metric.help
        if metric.buckets:
            text += f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
        rows.append(f"| `{name}` | {metric.kind} | {labels} | {text} |")
    return "\n".join(rows)


def test_the_page_lists_every_metric_as_the_catalogue_has_it() -> None:
    text = PAGE.read_text("utf-8")
    shown = text.partition("<!-- metrics -->\n")[2].partition("<!-- end of metrics -->")[0].strip()
    assert shown == table(), f"put this into {PAGE.name}:\n\n{table()}"


def test_the_page_names_every_logger_of_an_event() -> None:
    text = PAGE.read_text("utf-8").partition("| logger |")[2]
    for name in LEVELS:
        logger = name.rpartition(".")[0]
        assert f"`{logger}`" in text or f"`{logger.removeprefix('resilient')}`" in text, logger


def test_the_page_names_every_outcome() -> None:
    text = PAGE.read_text("utf-8").partition("Outcomes of a call:")[2]
    assert all(f"`{outcome}`" in text for outcome in OUTCOMES)
