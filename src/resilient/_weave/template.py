"""Render templates: nest them, rename what belongs to a policy, keep the lines that apply.

The language is described in `docs/decisions/001-woven-pipelines.md`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

HOLE = "<inner>"
_OWN = r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)*)_(?![a-z0-9_])"  # compiled by the first that weaves
_CONDITION = r"\s*#: ([!\w&| ]+)$"
_STEP = "    "

_HANDED_OUT = ("return result if exchange.simple else exchange.finish(result)",)
_RAISED = """
except BaseException as error:
    result = AWAIT exchange.raised(error)
    if result is None:
        raise
    return result
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One policy in a shape.

    Attributes:
        template: The policy's fast path.
        number: Told apart by it are the names of its own.
        flags: The conditional lines that apply, apart from the colour.
        bounds: Whether the layer assigns `end_` and `cut_` for what it encloses.

    """

    template: str
    number: int
    flags: frozenset[str] = frozenset()
    bounds: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """All that decides about the text of a woven function, and nothing else.

    Attributes:
        layers: From the outermost policy to the innermost.
        core: The template of the call itself.
        owner: Number of the policy that the core's own names belong to.
        flags: Flags of all layers: the colour, `timed`, `hop`, `streamed`.
        parameters: The woven function's parameter list.
        arguments: How it hands them on.
        key: What tells its calls apart, where its parameters are known.
        caller: What is put around the call of the function itself, with a place for it.

    """

    layers: tuple[Layer, ...]
    core: str
    owner: int
    flags: frozenset[str]
    parameters: str
    arguments: str
    caller: str = "{}"
    key: str = ""


def render(shape: Shape) -> str:
    """Return the source of the woven function of a shape."""
    lines = ["", HOLE]
    end, cut, before = "NEVER", "None", "NEVER"
    for layer in shape.layers:
        flags = shape.flags | layer.flags
        if layer.bounds and end == "NEVER":
            flags |= {"outermost"}
            before = f"around_{layer.number}"
        words = {"END": end, "CUT": cut, "ARGS": shape.arguments, "KEY": shape.key}
        lines = _fill(lines, _lines(layer.template, flags, layer.number, words))
        if layer.bounds:
            end, cut = f"end_{layer.number}", f"cut_{layer.number}"
    target, arguments = "call", shape.arguments
    if "streamed" in shape.flags:
        target, arguments = "exchange.attempt", f"{end}, {cut}, {'began' if 'timed' in shape.flags else 'now()'}"
    call = shape.caller.format(f"{target}({arguments})")
    words = {"END": end, "CUT": cut, "BEFORE": before, "ARGS": arguments, "TARGET": target, "CALL": call}
    lines = _fill(lines, _lines(shape.core, shape.flags, shape.owner, words))
    head = "async def guarded" if "async" in shape.flags else "def guarded"
    start = ["left = []"] if "hop" in shape.flags else []
    body = [*start, *(line for line in lines if line.strip())]
    if "streamed" in shape.flags:
        body = ["try:", *(_STEP + line for line in [*body, *_HANDED_OUT]), *_lines(_RAISED, shape.flags, 0, {})]
    else:
        body.append("return result")
    return "\n".join([f"{head}({shape.parameters}):", *(_STEP + line for line in body)]) + "\n"


def _lines(text: str, flags: frozenset[str], number: int, words: dict[str, str]) -> list[str]:
    kept = []
    for line in text.strip("\n").split("\n"):
        condition = re.search(_CONDITION, line)
        if condition:
            if not _applies(condition[1], flags):
                continue
            line = line[: condition.start()]  # noqa: PLW2901 -- the condition is no code
        kept.append(_translate(line, flags, number, words))
    return kept


def _applies(condition: str, flags: frozenset[str]) -> bool:
    return any(
        all((flag.lstrip("!") in flags) != flag.startswith("!") for flag in map(str.strip, each.split("&")))
        for each in condition.split("|")
    )


def _translate(line: str, flags: frozenset[str], number: int, words: dict[str, str]) -> str:
    line = line.replace("AWAIT ", "await " if "async" in flags else "")
    line = re.sub(_OWN, rf"\1_{number}", line)
    return re.sub(r"\b(END|CUT|BEFORE|ARGS|KEY|TARGET|CALL)\b", lambda found: words[found[0]], line)


def _fill(outer: Sequence[str], inner: Sequence[str]) -> list[str]:
    """Put `inner` into the hole of `outer`, at the hole's indentation."""
    filled: list[str] = []
    for line in outer:
        if line.strip() == HOLE:
            indent = line[: -len(HOLE)]
            filled.extend(indent + each for each in inner)
        else:
            filled.append(line)
    return filled
