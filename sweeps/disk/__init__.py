"""What a run keeps on disk, and what is removed."""
