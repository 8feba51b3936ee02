"""The steps of a trial: preparation, methods, artifact, evaluation and timing."""
