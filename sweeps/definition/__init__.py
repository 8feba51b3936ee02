"""The definition of a sweep: YAML, search space, messages for mistakes."""
