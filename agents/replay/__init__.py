"""Replay buffers and rollouts, for one role at a time or for whole markets."""
