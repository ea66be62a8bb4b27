"""Networks of many members in one stack, and what makes them fast and alike to the bit.

They know tensors only: no agent, no market.
"""
