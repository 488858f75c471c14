"""Proofs that a neuron is silent for every input of a stated domain. Mathematics only: numpy, no model files.

`sets` are domains with closed-form suprema; `ops` are the operators with sound rules, one family a file; `network` is
what a graph is lowered to; `interval` and `backward` bound every tensor; `envelopes` hold an activation between lines;
`rounding` says how far floating point may stray from the exact value.
"""
