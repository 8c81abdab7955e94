"""What a guarded call costs, in multiples of an empty decorator, beside other libraries.

Run `python -m benchmarks --help`. Nothing here gates a test: the numbers are printed, and
`docs/benchmarks.md` shows the last ones. Only ratios taken in one run mean anything.
"""
