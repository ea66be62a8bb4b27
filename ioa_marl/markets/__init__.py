"""The economics: pure mechanisms and their exact optima, without learning."""
