"""One transport core for httpx and httpx2."""
