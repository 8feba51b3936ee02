"""Compression of language models: distil, prune, cluster, quantize, measure."""
