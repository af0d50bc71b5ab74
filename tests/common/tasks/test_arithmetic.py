import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import word_tokenizer
from common.tasks.arithmetic import Arithmetic
from common.tasks.chat import chat_prompt

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def chat_tokenizer(template=CHATML):
    tokenizer = word_tokenizer(["<|user|>", "<|system|>", "<|assistant|>"])
    tokenizer.chat_template = template
    return tokenizer


def test_a_few_shot_prompt():
    (problem,) = Arithmetic(digits=2, shots=3).generate(0, 1)
    *shown, asked = problem.prompt.split("\n")
    assert len(shown) == 3
    for line in shown:
        left, right = line.split(" = ")
        assert eval(left) == int(right)
    assert asked.endswith(" =")
    first, _, second = asked.removesuffix(" =").split()
    assert {len(first), len(second)} == {2}
    assert int(first) + int(second) == problem.data["result"]


def test_a_chat_prompt():
    task = Arithmetic(tokenizer=chat_tokenizer())
    (problem,) = task.generate(0, 1)
    asked = problem.data["asked"]
    assert problem.prompt == (
        f"<|user|> What is {asked}? Answer with the number only. <|assistant|>"
    )
    assert task.verify(problem, problem.solution) == 1


def test_the_first_token_does_not_come_twice():
    from tokenizers.processors import TemplateProcessing

    tokenizer = chat_tokenizer("<bos>" + CHATML)
    assert chat_prompt(tokenizer, "why").startswith("<bos><|user|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    prompt = chat_prompt(tokenizer, "why", system="short")
    assert prompt.startswith("<|system|> short <|user|> why")
    assert tokenizer(prompt).input_ids.count(1) == 1


def test_a_tokenizer_without_a_template():
    with pytest.raises(ValueError, match="chat template"):
        chat_prompt(word_tokenizer(["a"]), "why")


@pytest.mark.parametrize("operation", ["+", "-", "*"])
@pytest.mark.parametrize("digits", [1, 3, 18])
def test_solutions_are_right(operation, digits):
    task = Arithmetic(operation=operation, digits=digits)
    for problem in task.generate(1, 20):
        assert eval(problem.data["asked"]) == problem.data["result"]
        assert task.verify(problem, problem.solution) == 1
        assert task.verify(problem, f"{problem.solution}1") == 0
        assert problem.difficulty == digits


def test_what_counts_in_a_completion():
    few_shot, chat = Arithmetic(), Arithmetic(tokenizer=chat_tokenizer())
    (problem,) = few_shot.generate(2, 1)
    result = problem.data["result"]
    assert few_shot.verify(problem, f" {result}\n1 + 1 = 99") == 1
    assert chat.verify(problem, f" {result}\n1 + 1 = 99") == 0
    assert chat.verify(problem, f"Sure!\nThe answer is {result}.") == 1
    assert few_shot.verify(problem, "") == 0


def test_names_and_seeds():
    assert Arithmetic(operation="*", digits=2).name == "multiplication_2"
    assert Arithmetic().generate(1, 3) == Arithmetic().generate(1, 3) != Arithmetic().generate(2, 3)


@given(st.text(max_size=100))
@settings(deadline=None, max_examples=100)
def test_any_text_can_be_verified(text):
    task = Arithmetic(digits=18)
    for problem in task.generate(0, 2):
        assert task.verify(problem, text) == 0
        assert task.verify(problem, "9" * 6000 + text) == 0


@pytest.mark.parametrize(
    "options", [{"digits": 0}, {"digits": 19}, {"shots": -1}, {"operation": "/"}]
)
def test_what_the_task_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Arithmetic(**options)
