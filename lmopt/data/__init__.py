"""From files to batches: sources, chunks, splits, tokens, training examples."""
