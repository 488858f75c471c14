"""Figures of theory: one file a kind, drawn from what `nla.theory` computes."""
