"""What an HTTP cache must do, case by case: scripts, an origin that plays them, and a judge.

    python -m tests.cache.suite --mode shared

The cases cover the behaviours of the public HTTP cache test suite; `public` names its id of each,
so that scores can be compared. The words, the format and the machinery are ours.
"""
