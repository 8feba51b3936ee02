"""Families of encoders, one file each: layers, units, positions, the head's token, limits."""
