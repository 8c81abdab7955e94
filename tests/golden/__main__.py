"""Write the golden files anew; read the difference before committing it."""

from tests.test_weave import GOLDEN, TYPICAL, streamed

for kind, make in TYPICAL.items():
    for colour in ("sync", "async"):
        (GOLDEN / f"{kind}_{colour}.py.txt").write_text(make(f"write-{kind}").source(colour))

for colour in ("sync", "async"):
    (GOLDEN / f"streamed_{colour}.py.txt").write_text(streamed(f"write-streamed-{colour}", colour))
