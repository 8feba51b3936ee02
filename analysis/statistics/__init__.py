"""Statistics of plain arrays: uncertainty, fronts, hypervolumes."""
