"""Run folders: one run, the same run gone on with, and the runs of several seeds."""
