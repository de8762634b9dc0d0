"""The page of a run, its figures and its tables, drawn from the results alone."""
