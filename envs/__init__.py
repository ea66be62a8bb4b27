"""Economic markets as PettingZoo parallel environments, and `check_market` for your own ones.

Each market has a package of its own and a module ``NAME_v0`` with its entry points. The other modules are common to all
markets: the contract of a game (`core`), games that are played in phases (`phased`), PettingZoo's interface
(`parallel`), batches (`vector`), the parts of pictures (`rendering`) and the checks of a market (`testing`).
Environments may use `ioa_marl.markets` and `ioa_marl.foundations`; they never import torch.
"""

import lazy_loader

if __name__ != "ioa_marl.envs":
    raise ImportError("import this package as ioa_marl.envs, not from the repository's folder")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
