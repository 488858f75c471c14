"""From an ONNX graph to the network that proofs see: operators with sound rules for one sample, by family in `rules`.

An operator without a rule ends what can be proved: its output may be anything, and every site behind it bears the
reason.
"""
