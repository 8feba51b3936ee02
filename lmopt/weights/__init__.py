"""Rounding of weights, and the storage plan that training and artifacts share."""
