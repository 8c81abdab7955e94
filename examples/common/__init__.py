"""What the demos share: processes that talk, callers on a schedule, and a live display."""
