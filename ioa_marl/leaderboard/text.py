"""Escaping of untrusted text for the terminal, Markdown, CSV, file names and Matplotlib.

`visible` is applied once, when a store is read; the other functions take its result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LONGEST_SHOWN = 300
"""Longest reason or setting that is shown, in characters."""
LONGEST_NAME = 255
"""Longest name of a market, an agent, a metric or a setting, in characters."""
LONGEST_FILE_NAME = 100
"""Longest file name, in characters."""

_MARKDOWN = {
    **{character: f"\\{character}" for character in "\\*_[]|"},
    # Entities, because renderers show the backslash or parse these characters before backslashes.
    **{character: f"&#{ord(character)};" for character in "<>&`~$"},
}
_LINK = re.compile(r"(?<=www)\.|:(?=//)", re.IGNORECASE)
_RAW_BYTES = re.compile("[\udc80-\udcff]+")
_MISSING = {
    "#n/a", "#n/a n/a", "#na", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "nan", "none", "null", "nil", "inf",
    "infinity", "true", "false", "t", "f", "y", "n", "yes", "no", "on", "off",
}  # fmt: skip
"""Words, in lower case, that readers of CSV take for a missing value, a truth value or an infinity."""
_STARTS_A_WORD = "_/\\~[{?*"
"""Characters other than letters with which a cell cannot be taken for a number or a formula."""
_DATE = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ ./-]*\d", re.IGNORECASE)
_FORMULA_IN_THE_NEXT_CELL = re.compile(r";(?=\s*[=+\-@])")
CSV_MARK = "text-"
"""Prefix of words in CSV that would be misinterpreted without it."""


def visible(text: str) -> str:
    r"""Return text without characters that control a terminal, are invisible or cannot be encoded.

    Control characters, marks of writing direction, invisible characters and undecodable bytes become escapes such as
    ``\x1b``. Names of files are the same in every locale.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _RAW_BYTES.sub(_decoded, text)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _decoded(match: re.Match[str]) -> str:
    """Return bytes that Python could not decode in this locale, decoded as UTF-8 or written as escapes."""
    return match.group().encode("ascii", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(text: str, most: int = LONGEST_SHOWN) -> str:
    """Return text cut to ``most`` characters, with an ellipsis if it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(value: object) -> str:
    """Return the first line of a text, escaped and shortened."""
    return shortened(visible((str(value).strip().splitlines() or [""])[0]))


def in_markdown(text: str) -> str:
    """Return text that is shown literally in Markdown, in GitHub's dialect and in TensorBoard's."""
    return _LINK.sub(lambda hit: f"&#{ord(hit.group())};", "".join(_MARKDOWN.get(c, c) for c in text))


def in_csv(text: str) -> str:
    """Return text that no reader of CSV takes for a number, a date, a missing value, a truth value or a formula.

    Such words, and those that begin with ``text-``, get the prefix ``text-``; all others are unchanged.
    """
    bare = text.strip()
    mistaken = bare.lower() in _MISSING or not (bare[:1].isalpha() or bare[:1] in _STARTS_A_WORD) or _DATE.match(bare)
    marked = f"{CSV_MARK}{text}" if bare and (mistaken or text.startswith(CSV_MARK)) else text
    # Where the comma is the decimal mark, spreadsheets separate cells at semicolons.
    return _FORMULA_IN_THE_NEXT_CELL.sub(r"\\x3b", marked)


def in_figure(text: str) -> str:
    """Return text that Matplotlib does not parse as a formula."""
    return text.replace("$", r"\$")


def file_name(text: str) -> str:
    """Return text as one component of a path, in ASCII, which every locale can encode."""
    return re.sub(r"[^A-Za-z0-9_.=+,-]+", "_", text).strip(".")[:LONGEST_FILE_NAME] or "_"


def unique(names: Sequence[str]) -> list[str]:
    """Return names with a number appended to those that occur more than once, ignoring case."""
    total: dict[str, int] = {}
    for name in names:
        total[name.lower()] = total.get(name.lower(), 0) + 1
    used = {name for name, times in total.items() if times == 1}
    numbers: dict[str, Iterator[str]] = {}
    out = []
    for name in names:
        if total[name.lower()] > 1:
            free = numbers.setdefault(name.lower(), _numbered(name, used))
            name = next(free)
            used.add(name.lower())
        out.append(name)
    return out


def _numbered(name: str, used: set[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if f"{name}-{number}".lower() not in used:
            yield f"{name}-{number}"
