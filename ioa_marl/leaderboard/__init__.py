"""From the run store to the leaderboard: terminal, Markdown, CSV and TensorBoard."""
