"""The command line, as `./claimbook` or `python -m common.workflow` from the root."""

import os
import sys

from common.workflow.base.errors import told_plainly
from common.workflow.running import fork_client

if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and fork_client.VARIABLE in os.environ:
        with told_plainly():
            from common.workflow.running.processes import die_with_pipeline

            die_with_pipeline()  # this process stands in for the fork, which has other ancestors
            fork_client.spawn("common.workflow.cli", sys.argv[1:], any_environment=True)
    from common.workflow.cli import main

    main()
