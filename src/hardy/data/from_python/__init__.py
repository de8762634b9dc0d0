"""Data sets from Python: handed in, or given by a function of the user's own."""
