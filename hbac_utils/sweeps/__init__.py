"""Parameter sweeps: many trials of one recipe, each a training notebook run by papermill."""
