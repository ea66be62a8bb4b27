"""What everything else is built on: compilation of kernels, and what a source file imports.

Nothing here knows a market, an environment or an agent, and every other package may use it.
"""
