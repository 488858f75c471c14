"""Figures: one file a kind, each a function from runs to a chart with its words; pure but for `saving`."""
