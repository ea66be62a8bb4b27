"""Training: configuration, run store, checkpoints and the loop."""
