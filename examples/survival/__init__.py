"""A shop is killed; reads go on and writes happen once: `python -m examples.survival`.

The shop is a service in a process of its own. It is killed, started again and slow for a while.
Meanwhile four readers ask it for rates: a bare client (`bare`), one with a pipeline (`pipeline`),
the same with a cache that serves stale answers (`cached`), and a plain function behind a function
cache (`function`). Two writers place orders, with idempotency keys and without. They, too, are
killed, and start again from their journals. The shop's ledger is the witness of what it did.

Read `protected` and `orders` first: they are the code to copy, `shop` for the server's side.
`phases` is the script, `run` plays it, and `verdict` decides whether every promise was kept.
"""
