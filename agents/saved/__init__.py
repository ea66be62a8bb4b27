"""Policies in checkpoints: their description is checked, since a stranger may have written it, and agents are built."""
