"""A claim's definition as it stands in `claims.yaml`."""

from __future__ import annotations

import io
from typing import Any

from common.workflow.base.yaml_source import plain
from common.workflow.pages.site.results import Results


def definition(results: Results, name: str) -> str:
    """The claim's lines of `claims.yaml`; written out anew where they refer to other claims."""
    source = results.claims_source
    claims = source.data["claims"]
    if name not in claims:
        return f"# {name} is no longer in claims.yaml"
    lines = source.path.read_text().splitlines()
    start = source.line(["claims", name]) - 1
    following = list(claims)[list(claims).index(name) + 1 :][:1]
    end = source.line(["claims", *following]) - 1 if following else _end(lines, start)
    text = "\n".join(line.removeprefix("  ") for line in lines[start:end]).rstrip()
    return text if _stands_alone(text) else _written_out({name: plain(claims[name])})


def _end(lines: list[str], start: int) -> int:
    """The first line after `start` that is not indented."""
    after = (at for at in range(start + 1, len(lines)) if lines[at][:1] not in ("", " ", "#"))
    return next(after, len(lines))


def _stands_alone(text: str) -> bool:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        YAML().load(text)
    except MarkedYAMLError:
        return False
    return True


def _written_out(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml, text = YAML(), io.StringIO()
    yaml.width = 90
    yaml.dump(value, text)
    return text.getvalue().rstrip()
