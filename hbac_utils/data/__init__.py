"""From files to arrays, and from arrays to batches."""
