"""``audit.json`` of a seed: what an audit has found, bound to the row whose policies were audited."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ioa_marl.evaluation.audits.results import COLUMNS
from ioa_marl.foundations.files import DamagedFileError, read_json
from ioa_marl.training.integrity import checksum

FILE, PICTURE = "audit.json", "audit.png"
"""Files of an audit in a seed's folder."""
LARGEST = sys.float_info.max
"""Largest absolute value of a figure that is shown."""
SEARCH = ("settings", "version", "first_episode", "best_response")
"""Entries of an audit that say how it searched; audits of a policy that agree in them have to find the same."""
AGAIN = "ioa-marl audit makes it again"


def sealed(found: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return an audit bound to a row, with its own checksum.

    Parameters
    ----------
    found : mapping
        The audit: JSON values.
    result : mapping
        The content of the row's ``result.json``.
    """
    bound = {"row": result.get("checksum"), **found}
    return {**bound, "checksum": checksum(bound)}


def read_audit(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the audit of a seed, or an empty dictionary if there is none.

    Parameters
    ----------
    folder : Path
        The seed's folder.
    result : mapping
        The content of its ``result.json``.

    Raises
    ------
    DamagedFileError
        If the file is damaged, or belongs to another row than the one that is there.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return {}
    content = read_json(path)
    if not isinstance(content, Mapping) or content.get("checksum") != checksum(content):
        raise DamagedFileError(path, f"does not match its checksum; {AGAIN}")
    if content.get("row") != result.get("checksum"):
        raise DamagedFileError(path, f"is of other policies than this row; {AGAIN}")
    return dict(content)


def search_of(audit: Mapping[str, Any]) -> str:
    """Return how an audit searched, as text that can be compared; "" if there is no audit."""
    return json.dumps({key: audit.get(key) for key in SEARCH}, sort_keys=True) if audit else ""


def columns_of(audit: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an audit that a leaderboard shows, by column; anything malformed is left out."""
    shown = {}
    findings = audit.get("findings")
    for finding in findings if isinstance(findings, list) else []:
        column, value = (finding.get("column"), finding.get("value")) if isinstance(finding, Mapping) else (None, None)
        if not isinstance(column, str) or column not in COLUMNS:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST:
            shown[column] = float(value)
    return shown
