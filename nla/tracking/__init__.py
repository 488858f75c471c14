"""Several runs at once: what changed between two, over a series, and side by side."""
