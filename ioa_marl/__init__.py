"""Benchmark suite for multi-agent reinforcement learning in economic markets."""
