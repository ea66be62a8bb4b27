"""Stacks of networks: layers, optimiser, and the settings that make them fast and reproducible to the bit.

This package works on tensors and does not depend on agents' algorithms or on markets.
"""
