"""What `benchmarks/fingerprints.py` records: values of markets, plain functions and learners, told apart by no name."""
