"""Before a run: check, cost, dry run, doctor."""
