"""Text that strangers wrote, for where it goes: terminal, Markdown, CSV, file names and Matplotlib.

`visible` comes first and is done once, where a store is read; the others take what it returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LONGEST_SHOWN = 300
"""Characters of a reason or a setting that are shown."""
LONGEST_NAME = 255
"""Characters of the name of a market, an agent, a metric or a setting."""
LONGEST_FILE_NAME = 100

_MARKDOWN = {
    **{character: f"\\{character}" for character in "\\*_[]|"},
    # What one of the renderers shows with its backslash, or reads before it looks for backslashes.
    **{character: f"&#{ord(character)};" for character in "<>&`~$"},
}
_LINK = re.compile(r"(?<=www)\.|:(?=//)", re.IGNORECASE)
_RAW_BYTES = re.compile("[\udc80-\udcff]+")
_MISSING = {
    "#n/a", "#n/a n/a", "#na", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "nan", "none", "null", "nil", "inf",
    "infinity", "true", "false", "t", "f", "y", "n", "yes", "no", "on", "off",
}  # fmt: skip
"""Words that readers of CSV take for a missing value, a truth value or an infinity, in small letters."""
_STARTS_A_WORD = "_/\\~[{?*"
"""Characters beside letters."""
_DATE = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ ./-]*\d", re.IGNORECASE)
_FORMULA_IN_THE_NEXT_CELL = re.compile(r";(?=\s*[=+\-@])")
CSV_MARK = "text-"
"""What a word begins with in CSV that would be taken for something else without it."""


def visible(text: str) -> str:
    r"""Return text in which nothing acts on a terminal, hides or cannot be encoded.

    Control characters, marks of writing direction, invisible characters and bytes that are no text become escapes such
    as ``\x1b``. Names of files read the same in every locale.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _RAW_BYTES.sub(_decoded, text)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _decoded(found: re.Match[str]) -> str:
    """Return bytes that Python could not decode in this locale as UTF-8, or as escapes."""
    return found.group().encode("ascii", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(text: str, most: int = LONGEST_SHOWN) -> str:
    """Return text of at most ``most`` characters, with an ellipsis where it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(value: object) -> str:
    """Return the first line of a text, visible and not too long."""
    return shortened(visible((str(value).strip().splitlines() or [""])[0]))


def in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in GitHub's dialect and in TensorBoard's."""
    return _LINK.sub(lambda hit: f"&#{ord(hit.group())};", "".join(_MARKDOWN.get(c, c) for c in text))


def in_csv(text: str) -> str:
    """Return text that no reader of CSV takes for a number, a date, a missing value, a truth value or a formula.

    Such words, and those that begin with ``text-``, get ``text-`` in front; all others stay as they are.
    """
    bare = text.strip()
    mistaken = bare.lower() in _MISSING or not (bare[:1].isalpha() or bare[:1] in _STARTS_A_WORD) or _DATE.match(bare)
    marked = f"{CSV_MARK}{text}" if bare and (mistaken or text.startswith(CSV_MARK)) else text
    # Where the comma is the decimal mark, spreadsheets part cells at semicolons.
    return _FORMULA_IN_THE_NEXT_CELL.sub(r"\\x3b", marked)


def in_figure(text: str) -> str:
    """Return text that Matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def file_name(text: str) -> str:
    """Return text as one component of a path, in ASCII: there is no locale in which it cannot be written."""
    return re.sub(r"[^A-Za-z0-9_.=+,-]+", "_", text).strip(".")[:LONGEST_FILE_NAME] or "_"


def unique(names: Sequence[str]) -> list[str]:
    """Return names with a number appended to those that occur more than once, letters of either case being alike."""
    total: dict[str, int] = {}
    for name in names:
        total[name.lower()] = total.get(name.lower(), 0) + 1
    taken = {name for name, times in total.items() if times == 1}
    numbers: dict[str, Iterator[str]] = {}
    out = []
    for name in names:
        if total[name.lower()] > 1:
            free = numbers.setdefault(name.lower(), _numbered(name, taken))
            name = next(free)
            taken.add(name.lower())
        out.append(name)
    return out


def _numbered(name: str, taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if f"{name}-{number}".lower() not in taken:
            yield f"{name}-{number}"
