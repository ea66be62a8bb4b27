"""Equations that several markets share: the physics of links and processors."""
