"""The report: one self-contained page of HTML for one run or several."""
