"""Hours of EEG from any recorder: read, predict, summarise, report."""
