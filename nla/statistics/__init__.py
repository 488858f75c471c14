"""Accumulators: one statistic a file, all with one interface (`base`), together for a site in `site`."""
