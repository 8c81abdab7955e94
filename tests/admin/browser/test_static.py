"""The dashboard's files, without a browser: small, of one piece, and with no way in for markup or strangers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[3] / "src/resilient/admin/static"
FILES = sorted(path for path in STATIC.iterdir() if path.is_file())
BUDGET = 120_000

MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|createContextualFragment|DOMParser|document\.write|srcdoc"
    r"|\beval\b|new Function|javascript:|setTimeout\(\s*[\"'`]|\.style\b|cssText|setAttribute\(\s*[\"']style"
)
STORED = re.compile(r"sessionStorage|indexedDB|document\.cookie|\bcaches\b|serviceWorker|postMessage|BroadcastChannel")
ELSEWHERE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]|@import|url\(", re.IGNORECASE)


def test_all_files_together_stay_below_120_kb() -> None:
    assert sum(path.stat().st_size for path in FILES) < BUDGET


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_has_no_markup_from_text_no_inline_code_and_no_stranger(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.suffix == ".js":
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
        assert MARKUP.findall(code) == []
        assert STORED.findall(code) == []
        assert "localStorage" not in code or path.name == "preferences.js"
        assert re.findall(r"from \"(?!\./[a-z]+\.js\")", code) == []
    assert ELSEWHERE.findall(text) == []


def test_the_page_has_no_inline_style_and_no_inline_code_and_names_only_its_own_files() -> None:
    text = (STATIC / "index.html").read_text("utf-8")
    assert (
        re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?! type=\"module\" src=\"[a-z]+\.js\"></script>)", text) == []
    )
    named = re.findall(r"(?:src|href)=\"(?!#)([^\"]+)\"", text)
    assert set(named) == {path.name for path in FILES if path.name in named}
    assert len(named) >= 4


def test_the_token_is_used_in_one_place_only() -> None:
    holders = [path.name for path in FILES if "Bearer" in path.read_text("utf-8")]
    assert holders == ["api.js"]
