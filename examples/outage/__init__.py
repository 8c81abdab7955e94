"""An outage on real HTTP traffic, with and without a pipeline: `python -m examples.outage`.

A service in its own process goes through slow, failing, throttling and maintenance phases while
threads and asyncio tasks call it. The same calls are made twice at the same time, to two such
services: through a pipeline (`protected`), and with the plain client (`unprotected`).

Read `protected` first: it is the code to copy. `phases` is the script of the outage, `server`
plays it, `clients` calls, `board` and `display` show it live, and `verdict` decides whether the
pipeline kept its promise.
"""
