"""A private Slurm on this machine, to try a sweep on and to test against."""
