"""Learning agents and baselines, one file each."""

if __name__ != "ioa_marl.agents":
    raise ImportError("import this package as ioa_marl.agents, not from the repository's folder")
