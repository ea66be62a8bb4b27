"""Policies in checkpoints, which may come from an untrusted source: checking their description, and building agents."""
