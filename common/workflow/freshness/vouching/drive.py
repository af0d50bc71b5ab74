"""Runs notebooks of a checkout one after another: a script, so that it imports nothing of one.

Its standard input lists the jobs as JSON: {"arguments": of `claimbook run`, "trace": a folder,
"log": a file}. It prints one JSON line per job: the exit status and the seconds.
"""

import json
import os
import subprocess
import sys
import time

for job in json.load(sys.stdin):
    started = time.monotonic()
    command = [sys.executable, "-m", "common.workflow", "run", *job["arguments"]]
    environment = dict(os.environ) | {"CLAIMBOOK_TRACE": job["trace"]}
    with open(job["log"], "w") as log:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    told = {"status": done.returncode, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(told), flush=True)
