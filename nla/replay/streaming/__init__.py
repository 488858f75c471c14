"""Block-major replay: a checkpoint cut at its hidden states, one stage after the other, each on all samples.

`cutting` says what belongs to which stage, `stage_graph` writes a stage down, `weights` binds the files to it,
`sessions` runs it, `hidden` keeps what goes from stage to stage, `splitting` drives a split of the data through all
stages and `work` lets that go on after a kill. `staged` runs all stages on one batch.
"""
