"""The gate: rules about runs, and whether they hold."""
