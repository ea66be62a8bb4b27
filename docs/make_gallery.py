"""Draw the gallery of the README: a picture of every market during an episode of scripted policies.

The pictures are the same in every run.

``python docs/make_gallery.py [MARKET ...] [--out FOLDER]``
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ioa_marl import registry
from ioa_marl.envs.core import Game
from ioa_marl.foundations.files import write_atomically
from ioa_marl.training.gif import Palette, packed


@dataclass(frozen=True)
class Scene:
    """The moment of a market that a picture shows."""

    preset: str | None = None
    """Preset of the market; None: its first one."""
    policy: str | None = None
    """Scripted policy of every role that is controlled by default; None: the one that a role has of its own."""
    step: int = 2
    """Steps played before the picture is taken."""
    seed: int = 0
    """Seed of the market, and of its instance if the market is instanced."""


SCENES = {
    # Three trades are made, two buyers wait for a partner, and the clocks still move.
    "double_dutch": Scene("paper", "two_phase", 30, seed=11),
    "stackelberg": Scene("city", "oracle", 10),
    "second_bid": Scene("paper", "threshold", 24),
    "vcg_slicing": Scene("paper", "oracle", 3),
    "two_tier": Scene("paper", "oracle", 10),
}
"""Moments chosen because much is to be seen in them; a market without one is drawn after its second step."""
GALLERY = {name: SCENES.get(name, Scene()) for name in registry.MARKETS}
"""For each market of the suite its picture, ``images/<market>.png``."""

IMAGES = Path(__file__).parent / "images"
"""Folder of the pictures."""
MAX_BYTES = 150_000
"""Largest size of a picture [bytes], so that a page with all of them loads fast."""


def play(market: str, scene: Scene) -> Game:
    """Return the market at the moment that the picture shows."""
    game_class = registry.load_env(market)
    game = game_class(game_class.make_config(scene.preset), 1, autoreset=False)
    seed = np.array([scene.seed], np.uint64)
    instance = {"instances": seed} if game_class.instanced else {}
    game.reset(seed, np.zeros(1, np.uint64), **instance)
    policies = {role: game.scripted(scene.policy or game.roles[role].scripted, role) for role in game.controlled_roles}
    for played in range(scene.step):
        step = game.step({role: policy() for role, policy in policies.items()})
        if step.terminated[0] or step.truncated[0]:
            raise SystemExit(
                f"{market}: the episode ends after {played + 1} steps, the picture is of step {scene.step}"
            )
    return game


def picture(market: str, scene: Scene) -> bytes:
    """Return the bytes of the picture as a PNG file."""
    frame = packed(play(market, scene).render("rgb_array"))
    file = io.BytesIO()
    Palette([frame]).image(frame).save(file, format="PNG", optimize=True)
    data = file.getvalue()
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{market}: the picture has {len(data)} bytes, more than {MAX_BYTES}")
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pictures that the command line names; return 1 if a market is not registered."""
    parser = argparse.ArgumentParser(description="Draw the gallery of the README.")
    parser.add_argument("markets", nargs="*", metavar="MARKET", help=f"default: all, {', '.join(GALLERY)}")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    options = parser.parse_args(arguments)
    for market in options.markets:
        if market not in GALLERY:
            parser.error(f"{market} is not one of {', '.join(GALLERY)}")
    missing = False
    for market in options.markets or GALLERY:
        if market not in registry.env_names():
            print(f"{market}: skipped, no market of this name is registered", file=sys.stderr)  # noqa: T201
            missing = True
            continue
        path = options.out / f"{market}.png"
        data = picture(market, GALLERY[market])
        write_atomically(path, data)
        print(f"{path}  {len(data) / 1000:.0f} kB")  # noqa: T201
    return int(missing)


if __name__ == "__main__":
    raise SystemExit(main())
