"""Submission: cluster profiles, submitit, job states, a private development cluster."""
