"""Names for runs and boards: as little as tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from ioa_marl.leaderboard.settings import Settings
from ioa_marl.leaderboard.text import shortened

LONGEST_LABEL = 40
"""Characters of a label; settings that take more are replaced by the run's digest."""
MOST_SETTINGS = 3
"""Settings in the title of a board."""
LONGEST_VALUE = 40
"""Characters of a setting in the title of a board."""


def labels_of(
    agents: Sequence[tuple[Hashable, str]], digests: Sequence[str], settings: Sequence[Settings]
) -> list[str]:
    """Name runs by their agents and, where one agent has several runs on a board, by what differs.

    Parameters
    ----------
    agents : sequence of (hashable, str)
        Per run the board and the name of the agent.
    digests : sequence of str
        Per run.
    settings : sequence of mapping
        Per run.
    """
    groups: dict[tuple[Hashable, str], list[int]] = {}
    for place, group in enumerate(agents):
        groups.setdefault(group, []).append(place)
    out = [""] * len(agents)
    for (_, agent), places in groups.items():
        texts = [", ".join(parts) for parts in told_apart([settings[place] for place in places])]
        short = _beginnings([digests[place] for place in places])
        times = Counter(texts)
        for place, text, digest in zip(places, texts, short, strict=True):
            clear = len(f"{agent} {text}") <= LONGEST_LABEL and times[text] == 1
            what = text if clear else digest
            out[place] = f"{agent} {what}" if what else agent
    # An agent may be called what another one is labelled.
    alike = Counter((board, label) for (board, _), label in zip(agents, out, strict=True))
    return [
        label if alike[board, label] == 1 else f"{label} ({digest})"
        for (board, _), label, digest in zip(agents, out, digests, strict=True)
    ]


def variants_of(boards: Sequence[tuple[Hashable, Settings]]) -> list[str]:
    """Return for each board the settings that tell it apart from those of the same market, preset and role.

    Parameters
    ----------
    boards : sequence of (hashable, mapping)
        Market, preset and role, which boards that are told apart share, and the settings, empty where nobody knows.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, (shared, settings) in enumerate(boards):
        if settings:
            groups.setdefault(shared, []).append(place)
    out = ["settings unknown" if not settings and shared in groups else "" for shared, settings in boards]
    for places in groups.values():
        for place, parts in zip(places, told_apart([boards[place][1] for place in places]), strict=True):
            shown = [shortened(part, LONGEST_VALUE) for part in parts[:MOST_SETTINGS]]
            out[place] = ", ".join(shown) + (", …" if len(parts) > MOST_SETTINGS else "")
    return out


def told_apart(settings: Sequence[Settings]) -> list[list[str]]:
    """Return for each run the settings that not all have, but for those that more than half of them have."""
    out: list[list[str]] = [[] for _ in settings]
    for key in sorted({key for held in settings for key in held}):
        values = [repr(held.get(key)) for held in settings]
        times = Counter(values)
        for i, held in enumerate(settings):
            if key in held and 2 * times[values[i]] <= len(values):
                out[i].append(f"{key.rpartition('.')[2]}={held[key]}")
    return out


def _beginnings(digests: Sequence[str]) -> list[str]:
    """Return the beginnings of digests, of at least six characters, that tell them apart."""
    for length in range(6, max(map(len, digests), default=0)):
        if len({digest[:length] for digest in digests}) == len(digests):
            return [digest[:length] for digest in digests]
    return list(digests)
