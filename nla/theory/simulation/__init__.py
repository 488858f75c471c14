"""Random ReLU networks, counted: figures 2, 4, 5 and 6 of the bounds paper."""
