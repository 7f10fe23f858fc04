"""Tables, recordings, the store, folds and batches."""
