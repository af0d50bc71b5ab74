"""The command line, as `./claimbook` or `python -m common.workflow` from the root."""

from common.workflow.cli import main

if __name__ == "__main__":
    main()
