"""Finding a reply's answer, and comparing it with the right ones."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from decimal import Decimal

# Only the digits 0 to 9: other scripts have digits, too, but no model is asked for them. A minus
# right behind a letter, digit or bracket is an operation, not a sign.
_NUMBER = re.compile(r"(?:(?<![0-9A-Za-z_)\]])-)?[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def last_number(text: str) -> Decimal | None:
    """The last number of a text; commas may separate thousands.

    Args:
        text: any text.

    Returns:
        The number, exact however long it is; None if there is none.
    """
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def last_answer_pair(text: str, *, pairs: int = 1) -> str | None:
    """What stands in the last `<answer> … </answer>`, without blanks around it.

    Args:
        text: any text.
        pairs: how many there must be at least. Search-R1 (arXiv 2503.09516) looks at the prompt
            together with the completion and asks for two, because its prompt shows one.
    """
    found = _ANSWER.findall(text)
    return found[-1].strip() if len(found) >= pairs else None


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no articles (a, an, the), single blanks.

    The order of SQuAD's and Search-R1's evaluation: punctuation goes before articles do.
    """
    lower = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", lower).split())


def exact_match(answer: str | None, right_answers: Iterable[str]) -> bool:
    """Whether an answer equals one of the right ones after normalisation; None never does."""
    if answer is None:
        return False
    return normalise_answer(answer) in {normalise_answer(right) for right in right_answers}
