"""Errors whose message is meant for the user."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class ClaimbookError(Exception):
    """A message for the user; the command line prints it without a traceback."""


@contextmanager
def told_plainly() -> Iterator[None]:
    """End the program with a line and a status, where a traceback would help nobody."""
    try:
        yield
    except ClaimbookError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.exit(1)
    except OSError as error:  # full disk, read-only folder: nothing to debug
        print(f"error: {_reason(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: nothing half-written was left behind.", file=sys.stderr)
        sys.exit(130)


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    if not error.filename:
        return reason
    path, here = Path(error.filename), Path.cwd()
    return f"{reason}: {path.relative_to(here) if path.is_relative_to(here) else path}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known name is near, otherwise nothing."""
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(match) for match in near)}?)" if near else ""
