"""Configuration objects: task, models, runtime, recipe. This room imports pydantic only."""
