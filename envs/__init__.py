"""Economic markets as PettingZoo parallel environments."""

if __name__ != "ioa_marl.envs":
    raise ImportError("import this package as ioa_marl.envs, not from the repository's folder")
