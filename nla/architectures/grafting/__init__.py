"""A checkpoint's weights in a graph that the user gives: every weight of both is accounted for, or it is refused.

`hidden` refuses graphs with weights where no name says whose they are, `matching` pairs names, `layouts` decides
which matrices are transposed, `rewriting` makes the model.
"""
