"""Tasks: what is predicted, how it is scored, and its cheapest baseline."""
