"""What weights alone tell of a checkpoint: no data, no run. Reading and judging in the child; results are plain."""
