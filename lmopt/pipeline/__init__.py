"""The walk of a trial: prepare, methods, artifact, evaluation, timing."""
