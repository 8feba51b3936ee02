"""Results: table, Pareto front, uncertainty, figures, report."""
