"""Recalling facts: capitals of countries as short answers after worked examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.tasks.answers import exact_match
from common.tasks.problem import Problem

_TABLE = """
Afghanistan Kabul; Albania Tirana; Algeria Algiers; Angola Luanda; Argentina Buenos Aires;
Armenia Yerevan; Australia Canberra; Austria Vienna; Azerbaijan Baku; Bahrain Manama;
Bangladesh Dhaka; Belarus Minsk; Belgium Brussels; Bhutan Thimphu; Bosnia Sarajevo;
Botswana Gaborone; Brazil Brasilia; Bulgaria Sofia; Cambodia Phnom Penh; Cameroon Yaounde;
Canada Ottawa; Chile Santiago; China Beijing; Colombia Bogota; Croatia Zagreb; Cuba Havana;
Cyprus Nicosia; Denmark Copenhagen; Ecuador Quito; Egypt Cairo; Eritrea Asmara; Estonia Tallinn;
Ethiopia Addis Ababa; Fiji Suva; Finland Helsinki; France Paris; Georgia Tbilisi; Germany Berlin;
Ghana Accra; Greece Athens; Guinea Conakry; Guyana Georgetown; Haiti Port-au-Prince;
Honduras Tegucigalpa; Hungary Budapest; Iceland Reykjavik; India New Delhi; Indonesia Jakarta;
Iran Tehran; Iraq Baghdad; Ireland Dublin; Italy Rome; Jamaica Kingston; Japan Tokyo; Jordan Amman;
Kazakhstan Astana; Kenya Nairobi; Kyrgyzstan Bishkek; Laos Vientiane; Latvia Riga; Lebanon Beirut;
Liberia Monrovia; Libya Tripoli; Lithuania Vilnius; Madagascar Antananarivo; Malawi Lilongwe;
Malaysia Kuala Lumpur; Mali Bamako; Malta Valletta; Mexico Mexico City; Moldova Chisinau;
Mongolia Ulaanbaatar; Morocco Rabat; Mozambique Maputo; Namibia Windhoek; Nepal Kathmandu;
Netherlands Amsterdam; Nicaragua Managua; Niger Niamey; Nigeria Abuja; Norway Oslo; Oman Muscat;
Pakistan Islamabad; Panama Panama City; Paraguay Asuncion; Peru Lima; Philippines Manila;
Poland Warsaw; Portugal Lisbon; Qatar Doha; Romania Bucharest; Russia Moscow; Rwanda Kigali;
Senegal Dakar; Serbia Belgrade; Slovakia Bratislava; Slovenia Ljubljana; Somalia Mogadishu;
Spain Madrid; Sudan Khartoum; Sweden Stockholm; Syria Damascus; Taiwan Taipei; Tajikistan Dushanbe;
Tanzania Dodoma; Thailand Bangkok; Tunisia Tunis; Turkey Ankara; Turkmenistan Ashgabat;
Uganda Kampala; Ukraine Kyiv; Uruguay Montevideo; Uzbekistan Tashkent; Venezuela Caracas;
Vietnam Hanoi; Yemen Sanaa; Zambia Lusaka; Zimbabwe Harare
"""

CAPITALS: Mapping[str, str] = {
    country: capital
    for country, _, capital in (entry.strip().partition(" ") for entry in _TABLE.split(";"))
}
"""Capitals by countries whose names are single words, without accents."""


class Capitals:
    r"""The capital of a country, asked for in one line.

    | what | text |
    |---|---|
    | prompt | `capital of Peru = Lima\n … capital of Norway =` |
    | solution | ` Oslo` |

    The completion's first line counts, and it has to be the whole name.

    Args:
        shots: worked examples in the prompt, of other countries.
        capitals: names by country; for invented facts give others.
        terminator: ends a line; a tokenizer that drops line breaks needs another one.

    Raises:
        ValueError: a negative number of shots, or no country left to ask for.
    """

    name = "capitals"

    def __init__(
        self,
        *,
        shots: int = 3,
        capitals: Mapping[str, str] = CAPITALS,
        terminator: str = "\n",
    ) -> None:
        if shots < 0:
            raise ValueError(f"shots: must not be negative, got {shots}")
        if len(capitals) <= shots:
            raise ValueError(f"capitals: {len(capitals)} are too few for {shots} worked examples")
        self.shots = shots
        self.capitals = dict(capitals)
        self.terminator = terminator

    def questions(self) -> list[tuple[str, str]]:
        """All questions with their answers; an answer ends with the terminator.

        Question and answer, joined, are one line.
        """
        return [
            (f"capital of {country} =", f" {capital}{self.terminator}")
            for country, capital in self.capitals.items()
        ]

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems; equal seeds give equal problems."""
        rng = np.random.default_rng(seed)
        return [self._problem(rng) for _ in range(count)]

    def _problem(self, rng: np.random.Generator) -> Problem:
        questions = self.questions()
        chosen = rng.choice(len(questions), size=self.shots + 1, replace=False).tolist()
        *shown, (asked, answer) = (questions[index] for index in chosen)
        prompt = "".join(question + right for question, right in shown) + asked
        solution = answer.removesuffix(self.terminator)
        return Problem(prompt, solution, 1, {"capital": solution.strip()})

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the first line is the capital's name, upper and lower case alike."""
        first = completion.partition(self.terminator)[0]
        return float(exact_match(first, [problem.data["capital"]]))
