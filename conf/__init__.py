"""The Hydra configuration tree; it mirrors ``ioa_marl.envs`` and ``ioa_marl.agents``."""

if __name__ != "ioa_marl.conf":
    raise ImportError("import this package as ioa_marl.conf, not from the repository's folder")
