"""The examples of the audits' pages print what the pages say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["second_bid", "vcg_slicing"])
def test_the_example_prints_what_the_page_shows(page):
    text = (ROOT / "docs" / "audits" / f"{page}.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, page, "exec"), {})
    for line, expected in zip(printed.getvalue().splitlines(), shown.splitlines(), strict=True):
        assert line == expected
