"""Plain networks, MLPs and CNNs in one line, from tensors alone: what was declared, and what fits in one way only.

`grouping` makes layers of tensor names, `words` reads `--layers` and `--activation`, `ordering` finds the order
and the layout of the weights, `drawing` makes the graph.
"""
