"""Parameter sweeps: many trials of one recipe, each a training notebook run by papermill.

`plan` reads a sweep file, `study` keeps the trials in an Optuna storage, `workers` run them,
`trials` says what one trial is, `results` and `report` show what came of it.
"""
