"""Sharp bounds of small networks by linear programs and by branching (scipy's HiGHS, the extra `exact`).

`encoding` writes a network as rows over a box, `linear_program` bounds a linear function over them from a solver's
multipliers without trusting the solver, `milp` branches until the bounds decide.
"""
