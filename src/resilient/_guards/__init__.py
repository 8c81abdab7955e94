"""Guards: the state of one policy at one position of one pipeline.

A guard joins a pure machine to the clock, to randomness and to events, and holds the slow
paths that woven code calls. A policy and its guard are two halves of one thing: `retry.py`
says what is configured, `_guards/retry.py` does it.
"""
