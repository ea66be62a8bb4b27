"""Learning agents and baselines, one file each in `learners` and `baselines`; their interface is in `base`.

The packages `common`, `networks`, `replay` and `saved` contain code that agents share. Agents may use `ioa_marl.envs`
for roles and transitions, and never a concrete market.
"""

import lazy_loader

if __name__ != "ioa_marl.agents":
    raise ImportError("import this package as ioa_marl.agents, not from the repository's folder")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
