"""The page on one's own numbers prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import matplotlib

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_numbers.md"


def test_examples_print_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names, printed, compared = {}, "", 0
    for kind, text in re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        if kind == "text":
            assert printed == text
            compared += 1
        else:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, PAGE.name, "exec"), names)
            printed = out.getvalue()
    assert compared >= 2
    assert (tmp_path / "trace.png").stat().st_size > 0
