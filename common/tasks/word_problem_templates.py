"""Twenty-six word problems of two to four operations, written for this project.

They use sums, differences that stay positive, products with a small factor and divisions without
remainder. Scenes and wording are our own; none is taken from GSM8K or GSM-Ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from common.tasks.word_problem_templates_people import PEOPLE
from common.tasks.word_problem_templates_trade import TRADE
from common.tasks.word_problems import Template

TEMPLATES: Mapping[str, Template] = MappingProxyType({one.name: one for one in TRADE + PEOPLE})
"""By name."""
