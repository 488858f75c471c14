"""Closed forms of the papers, with numpy alone: what weights are drawn from, norms, slopes and bounds made of them."""
