"""The circuit breaker at work; `breaker.py` is its face, `_machines/breaker.py` its mind."""
