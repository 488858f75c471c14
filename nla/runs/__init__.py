"""Runs: what a recording or an inspection document says of a checkpoint, in one shape for all that compares runs."""
