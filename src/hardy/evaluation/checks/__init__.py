"""Checks of a network before its robust accuracy is believed; `evaluation.preflight` runs them.

Each is a function of what was seen to a Finding or None. Each stays quiet unless what it saw is
beyond chance at 1 % or beyond a stated share, so that honest networks pass.
"""
