"""Operators with sound rules: bounds forward, linear bounds backward. One family a file; `base.Op` is the interface."""
