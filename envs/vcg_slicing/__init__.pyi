from .config import (
    VCGSlicingConfig as VCGSlicingConfig,
)
from .game import (
    VCGSlicingGame as VCGSlicingGame,
)
