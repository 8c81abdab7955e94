"""Every Python block of the README and the documentation is run, in order, page by page.

The blocks of one page share their names, as a reader who types them in would see it. A block that
cannot run is marked in the page with `<!-- not executed: reason -->` just above it, and counted here.
"""

from __future__ import annotations

import linecache
import re
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from resilient.testing import isolated

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)])

# Page, and how many of its blocks are marked as not executed: nobody hides one silently.
NOT_EXECUTED: dict[str, int] = {}

MARK = re.compile(r"<!--\s*not executed:\s*(?P<reason>\S[^>]*?)\s*-->")


@dataclass(frozen=True)
class Block:
    """A Python block: its code, the line of its first statement, and why it is not run, if so."""

    code: str
    line: int
    skipped: str | None


def blocks(text: str) -> list[Block]:
    found = []
    mark = None
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            match = MARK.search(token.content)
            mark = match["reason"] if match else None
            continue
        if token.type == "fence" and token.info.strip().split(" ")[0] in {"python", "py", "pycon", "{code-block}"}:
            if token.info.strip() == "python":
                found.append(Block(token.content, token.map[0] + 2, mark))
            else:
                found.append(Block(f"raise SyntaxError('write ```python, not ```{token.info}')", token.map[0], None))
        if token.level == 0:
            mark = None
    return found


def run(page: str, text: str) -> int:
    """Run the blocks of a page in one module and return how many ran."""
    module = types.ModuleType("__main__")
    ran = 0
    for block in blocks(text):
        if block.skipped:
            continue
        # Padded, so that a traceback points at the line of the page.
        source = "\n" * (block.line - 1) + block.code
        linecache.cache[page] = (len(text), None, text.splitlines(keepends=True), page)
        exec(compile(source, page, "exec"), module.__dict__)  # the documentation is ours
        ran += 1
    return ran


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_blocks_of_a_page_run(page: Path) -> None:
    with isolated():  # no page minds the names of another
        run(str(page), page.read_text("utf-8"))


def test_what_is_not_executed_is_listed() -> None:
    hidden = Counter(name(page) for page in PAGES for block in blocks(page.read_text("utf-8")) if block.skipped)
    assert dict(hidden) == NOT_EXECUTED


def test_the_start_page_has_blocks_to_run() -> None:
    assert run("README.md", (ROOT / "README.md").read_text("utf-8")) > 0


def test_a_failing_block_fails_its_page_at_its_line() -> None:
    page = "Text.\n\n```python\nx = 1\n```\n\nMore.\n\n```python\nassert x == 2\n```\n"
    with pytest.raises(AssertionError) as caught:
        run("page.md", page)
    assert caught.traceback[-1].lineno + 1 == 10


def test_a_mark_covers_only_the_block_below_it() -> None:
    page = "<!-- not executed: needs a cluster -->\n```python\n1 / 0\n```\n\n```python\nx = 1\n```\n"
    assert [block.skipped for block in blocks(page)] == ["needs a cluster", None]
    assert run("page.md", page) == 1
    apart = "<!-- not executed: needs a cluster -->\n\nText.\n\n```python\n1 / 0\n```\n"
    with pytest.raises(ZeroDivisionError):
        run("page.md", apart)


def test_another_spelling_of_python_does_not_hide_a_block() -> None:
    with pytest.raises(SyntaxError):
        run("page.md", "```py\nx = 1\n```\n")
