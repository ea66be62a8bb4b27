"""A package whose agent needs a library that is not there."""
