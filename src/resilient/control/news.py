"""What the control side has to tell of itself: as events, and on the logger "resilient.control" in any case.

An application that listens to no events shall see, too, that its operators cannot reach it.
"""

from __future__ import annotations

from typing import Final

from resilient import events

__all__ = ["log", "tell"]

NOBODY: Final = ""
"""The downstream of events that belong to none."""


def tell(name: str, downstream: str = NOBODY, **fields: object) -> None:
    """Publish an event, and log it if nobody else does."""
    import logging  # noqa: PLC0415 -- kept off the import path of what calls this

    if not events.logged():
        level = getattr(logging, events.LEVELS.get(name, "INFO"))
        said = [name, *filter(None, [downstream]), *(f"{key}={value}" for key, value in fields.items())]
        extra = {"event": name, "resilient_downstream": downstream}
        logging.getLogger("resilient.control").log(level, " ".join(said), extra=extra)
    if events.wanted():
        events.publish(name, downstream, fields)


def log(text: str, *parts: object) -> None:
    """Log what is good to know."""
    import logging  # noqa: PLC0415

    logging.getLogger("resilient.control").info(text, *parts)
