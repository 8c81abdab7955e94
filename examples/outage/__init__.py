"""An outage on real HTTP traffic, with and without a pipeline: `python -m examples.outage`.

A service in its own process goes through slow, failing, throttling and maintenance phases while
threads and asyncio tasks call it. The same calls are made twice at the same time, to two such
services: with plain clients (`unprotected`), and with clients whose transport sends every
request through a pipeline (`protected`). `--family httpx` is the same with the other library.

Read `protected` first: it is the code to copy. `phases` is the script of the outage, `server`
plays it, `clients` calls, `board` and `display` show it live, and `verdict` decides whether the
pipeline kept its promise.
"""
