"""The table of conformance is true to the tests: each that it names is there, each statement has one or a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "http-cache-conformance.md"
KINDS = {"required", "advised", "free", "ours"}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("Section", "Source", "---")]


def named(row: list[str]) -> list[str]:
    return re.findall(r"`(test_\w+)`", row[-1])


def defined() -> set[str]:
    return {
        node.name
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}: {row[1]}"[:60])
def test_each_statement_has_a_test_or_a_reason(row: list[str]) -> None:
    assert len(row) == 5, "section, statement, kind, what is done, tests"
    assert row[2] in KINDS
    assert named(row) or row[3].startswith("reason: ")


def test_each_test_that_the_table_names_is_there() -> None:
    missing = {name for row in rows() for name in named(row)} - defined()
    assert missing == set()


def test_the_table_reads_all_of_the_page() -> None:
    assert len(rows()) > 100
    assert {row[0].split(".")[0] for row in rows()} >= {"3", "4", "5"}
