"""Names for runs and boards, as short as is needed to distinguish them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from ioa_marl.leaderboard.settings import Settings
from ioa_marl.leaderboard.text import LONGEST_NAME, shortened

LONGEST_LABEL = 40
"""Longest label, in characters; longer settings are replaced by the run's digest."""
MOST_SETTINGS = 3
"""Largest number of settings in the title of a board."""
ALWAYS_SHOWN = ("env.data", "env.coalitions")
"""Settings that the title of a board always shows if they are set."""
LONGEST_VALUE = 40
"""Longest setting in the title of a board, in characters."""
SHOWN_AS = "shown_as"
"""Setting of an agent that names its rows, such as what a loaded policy is."""


def shown_agent(agent: str, settings: Settings) -> str:
    """Return the name of a run's agent, in which the setting `SHOWN_AS` of an agent replaces the agent's own name.

    Parameters
    ----------
    agent : str
        Name of the agent, or ``role=name`` for each role with commas between.
    settings : mapping
        Flattened configuration of the run.
    """
    parts = [part.rpartition("=") for part in agent.split(",")]
    named = {roles for roles, _, _ in parts}
    # A run with several agents does not repeat the roles that a market controls by default in the agent's name.
    others = (key.split(".")[1] for key in settings if key.startswith("roles.") and key.endswith(".agent.name"))
    usual = next((roles for roles in others if roles not in named), "")
    shown = []
    for roles, equals, name in parts:
        role, dot, numbers = roles.partition(".")
        first = numbers.split("+")[0].split("-")[0]
        place = f"roles.{roles or usual}.agent" if len(parts) > 1 else "agent"
        place = f"roles.{role}.agents.{first}" if dot else place
        given = settings.get(f"{place}.{SHOWN_AS}")
        known = isinstance(given, str) and given not in ("", "null")
        shown.append(f"{roles}{equals}{shortened(str(given), LONGEST_NAME) if known else name}")
    return ",".join(shown)


def labels_of(
    agents: Sequence[tuple[Hashable, str]], digests: Sequence[str], settings: Sequence[Settings]
) -> list[str]:
    """Return a label for each run: its agent and, if the agent has several runs on a board, the settings that differ.

    Parameters
    ----------
    agents : sequence of (hashable, str)
        Board and name of the agent of each run.
    digests : sequence of str
        Digest of each run.
    settings : sequence of mapping
        Settings of each run.
    """
    groups: dict[tuple[Hashable, str], list[int]] = {}
    for place, group in enumerate(agents):
        groups.setdefault(group, []).append(place)
    out = [""] * len(agents)
    for (_, agent), places in groups.items():
        texts = [", ".join(parts) for parts in distinguishing_settings([settings[place] for place in places])]
        short = _prefixes([digests[place] for place in places])
        times = Counter(texts)
        for place, text, digest in zip(places, texts, short, strict=True):
            clear = len(f"{agent} {text}") <= LONGEST_LABEL and times[text] == 1
            what = text if clear else digest
            out[place] = f"{agent} {what}" if what else agent
    # The name of an agent may equal the label of another run.
    alike = Counter((board, label) for (board, _), label in zip(agents, out, strict=True))
    return [
        label if alike[board, label] == 1 else f"{label} ({digest})"
        for (board, _), label, digest in zip(agents, out, digests, strict=True)
    ]


def variants_of(boards: Sequence[tuple[Hashable, Settings]]) -> list[str]:
    """Return for each board the settings that distinguish it from boards of the same market, preset and role.

    Parameters
    ----------
    boards : sequence of (hashable, mapping)
        Market, preset and role of each board, and its settings, which are empty if they are unknown.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, (shared, settings) in enumerate(boards):
        if settings:
            groups.setdefault(shared, []).append(place)
    out = ["settings unknown" if not settings and shared in groups else "" for shared, settings in boards]
    for places in groups.values():
        of_boards = [boards[place][1] for place in places]
        parts = [
            [*_always(own), *(part for part in found if part not in _always(own))]
            for own, found in zip(of_boards, distinguishing_settings(of_boards), strict=True)
        ]
        texts = [_title(found) for found in parts]
        for text, times in Counter(texts).items():
            # What more than half of the boards have is left out above, but two boards must not have one title.
            alike = [i for i, other in enumerate(texts) if other == text] if times > 1 else []
            for i, more in zip(alike, _differing([of_boards[i] for i in alike]), strict=True):
                parts[i] = [*parts[i], *more]
        for place, found in zip(places, parts, strict=True):
            out[place] = _title(found)
    return out


def _title(parts: Sequence[str]) -> str:
    shown = [shortened(part, LONGEST_VALUE) for part in parts[:MOST_SETTINGS]]
    return ", ".join(shown) + (", …" if len(parts) > MOST_SETTINGS else "")


def _always(settings: Settings) -> list[str]:
    """Return the settings that make a market one's own, which a title always shows."""
    given = {key: settings.get(key, "null") for key in ALWAYS_SHOWN}
    return [f"{key.rpartition('.')[2]}={value}" for key, value in given.items() if value not in ("null", "[]", "")]


def _differing(settings: Sequence[Settings]) -> list[list[str]]:
    """Return for each run all of its settings in which the runs differ, as ``key=value``."""
    keys = sorted({key for of_run in settings for key in of_run})
    differ = [key for key in keys if len({repr(of_run.get(key)) for of_run in settings}) > 1]
    return [[f"{key.rpartition('.')[2]}={own.get(key, 'null')}" for key in differ] for own in settings]


def distinguishing_settings(settings: Sequence[Settings]) -> list[list[str]]:
    """Return for each run its settings with a value that at most half of the runs share, as ``key=value``."""
    out: list[list[str]] = [[] for _ in settings]
    for key in sorted({key for of_run in settings for key in of_run}):
        values = [repr(of_run.get(key)) for of_run in settings]
        times = Counter(values)
        for i, of_run in enumerate(settings):
            if key in of_run and 2 * times[values[i]] <= len(values):
                out[i].append(f"{key.rpartition('.')[2]}={of_run[key]}")
    return out


def _prefixes(digests: Sequence[str]) -> list[str]:
    """Return the shortest prefixes of digests, of at least six characters, that distinguish them."""
    for length in range(6, max(map(len, digests), default=0)):
        if len({digest[:length] for digest in digests}) == len(digests):
            return [digest[:length] for digest in digests]
    return list(digests)
