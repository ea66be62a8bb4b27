"""An agent and a market of another package."""
