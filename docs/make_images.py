"""Draw the pictures of the documentation."""

from pathlib import Path

import numpy as np

from ioa_marl.envs.double_dutch import DoubleDutchGame

HERE = Path(__file__).parent / "images"


def double_dutch() -> None:
    """Draw an auction under the two-phase rule, after a few trades."""
    from ioa_marl.envs.double_dutch_render import figure

    game = DoubleDutchGame(DoubleDutchGame.make_config(), 1, autoreset=False)
    game.reset(np.array([11], np.uint64))
    policy = game.scripted("two_phase", "auctioneer")
    while game.auctions.winners[0].min() < 3:
        game.step({"auctioneer": policy()})
    figure(game).savefig(HERE / "double_dutch.png", dpi=110)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    double_dutch()
