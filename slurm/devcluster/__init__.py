"""A private Slurm cluster on this machine, for trying out sweeps and for tests."""
