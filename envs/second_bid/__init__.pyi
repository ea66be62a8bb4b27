from .game import (
    SecondBidConfig as SecondBidConfig,
)
from .game import (
    SecondBidGame as SecondBidGame,
)
