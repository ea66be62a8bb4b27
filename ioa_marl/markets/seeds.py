"""Which seeds are used for what, so that nothing is chosen on the episodes it is scored on."""

MAX_TRAINING_SEED = 2**32 - 1
"""Training seeds are 0 to this."""
EVALUATION_SEED = 2**63
"""First seed of the evaluation episodes."""
CALIBRATION_SEED = 2**62
"""Seed of the markets on which references without information (the best constant action) are chosen."""
MAX_INSTANCE = 2**32 - 1
"""Instances are 0 to this; training seed s has instance s."""
