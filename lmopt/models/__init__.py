"""Transformers models: loading, shapes, embeddings, families, static students."""
