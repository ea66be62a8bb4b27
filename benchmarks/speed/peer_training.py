"""A learner of this project in a process of its own; started by `peer_process.Peer`.

One step of a turn is one period of its training: the steps from one time of learning to the next.
"""

from __future__ import annotations

import time

import peer_child
from learning import Training


def main() -> None:
    """Train, in turns."""
    settings = peer_child.settings
    training = Training(settings["learner"], settings["market"], settings["seeds"], **settings["changes"])
    ready = time.process_time()
    period = training.warm()

    def run(periods: int) -> None:
        training.run(periods * period)

    peer_child.serve({"env_steps": training.env_steps * period, "start [s]": ready}, run)


if __name__ == "__main__":
    main()
