"""The repository as the site shows it: its files, and its address if it has one."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import urlsplit

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT
from common.workflow.base.yaml_source import load_yaml

_SCP_FORM = re.compile(r"^(?:[\w.-]+@)?(?P<host>[\w-]+(?:\.[\w-]+)+):(?P<path>[^/].*)$")


def repository_url() -> str | None:
    """Where the repository can be read in a browser.

    `repository-code` of CITATION.cff, otherwise the https form of git's remote `origin`; None
    when neither gives one.
    """
    citation = ROOT / "CITATION.cff"
    if citation.is_file() and (url := load_yaml(citation).data.get("repository-code")):
        return str(url).rstrip("/")
    remote = _git("remote", "get-url", "origin")
    return https_form(remote.strip()) if remote else None


def https_form(remote: str) -> str | None:
    """The address for a browser of what `git clone` takes, without credentials; None for a path."""
    if match := _SCP_FORM.match(remote):
        host, path = match["host"], match["path"]
    else:
        parts = urlsplit(remote)
        if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port and parts.scheme.startswith("http") else ""
        host, path = f"{parts.hostname}{port}", parts.path
    return f"https://{host}/{path.strip('/').removesuffix('.git')}"


def repository_files() -> list[str]:
    """Paths from the root of all files that are tracked or could be.

    Raises:
        ClaimbookError: git is missing or this is no checkout.
    """
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        raise ClaimbookError("git does not list this folder's files: build the site in a clone.")
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
