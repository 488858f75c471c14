"""Runs: what a recording or an inspection document says of a checkpoint, in one shape for all that compares runs.

`run` is the shape. `of_inspection` makes it of an inspection, which recordings are judged to; `of_document` of the JSON
that `nla inspect --json` writes, which may be a stranger's (`reading`, `values` and `rows` check it). `naming` finds
labels and steps, `ordering` and `steps` the order of a series, `agreeing` whether the same criteria judged all, and
`born` gives neurons that state where a series begins with the checkpoint before training. The verbs open files with
`nla.verbs.runs.open_runs`; nothing that compares runs needs a model.
"""
