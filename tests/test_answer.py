"""What becomes of a model's answer, good, odd and hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from assistant.answer import SCHEMA, Answer, AnswerError, read_answer, strip_controls, to_markdown
from tests.llm_server import ANSWER

EVIDENCE = ["E1", "E2", "E3"]


def step(**fields: Any) -> dict[str, Any]:
    return {"title": "t", "command": "uptime", "risk": "none", "reversible": True, "why": "w", **fields}


def read(**fields: Any) -> Answer:
    return read_answer(json.dumps({**ANSWER, **fields}), EVIDENCE)


def test_it_reads_a_plain_answer() -> None:
    answer = read_answer(json.dumps(ANSWER), EVIDENCE)
    assert answer.verdict == "problem"
    assert answer.hypotheses[0].evidence == ("E1",)
    assert answer.steps[0].command == "ps aux --sort=-%cpu | head"
    assert answer.steps[0].multiline is False
    assert answer.remarks == ()


def test_its_schema_is_one_that_strict_servers_take() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    def walk(schema: Any) -> None:
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for child in schema["properties"].values():
                walk(child)
        elif schema.get("type") == "array":
            walk(schema["items"])

    walk(SCHEMA)
    Draft202012Validator(SCHEMA).validate(ANSWER)


@pytest.mark.parametrize(
    "around",
    [
        "```json\n{}\n```",
        "```\n{}\n```\nHope this helps!",
        '<think>{{ hmm }} maybe {{"a": 1}}</think>\n{}',
        "Sure! Here is the JSON {{as asked}}:\n{}",
        "\ufeff{}",
        '{}{{"verdict": "noise"}}',
    ],
)
def test_it_finds_the_answer_in_what_stands_around_it(around: str) -> None:
    assert read_answer(around.format(json.dumps(ANSWER)), EVIDENCE).verdict == "problem"


def test_it_takes_raw_newlines_inside_texts() -> None:
    assert read_answer(json.dumps(ANSWER).replace("A runaway process holds", "A runaway\nprocess holds"), EVIDENCE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON object"),
        ("The CPU is busy.", "no JSON object"),
        (json.dumps(ANSWER)[:-20], "ends before it is complete"),
        ('{"verdict": "problem", "summary": "cut of', "ends before it is complete"),
        ('{"verdict": "problem" "summary": 1}', "cannot be parsed"),
        ('{"hello": "world"}', "no “verdict”"),
        ('{"verdict": NaN}', "cannot be parsed"),
        ('{"verdict": ' + "9" * 5000 + "}", "cannot be parsed"),
        ('{"verdict": ' + '{"a":' * 100_000, "nested too deeply"),
        ('{"a' * 100_000, "cannot be parsed"),
        ("{" * 500_000, "no JSON object"),
        (json.dumps({**ANSWER, "verdict": "yes"}), "“verdict” must be one of problem, noise, inconclusive"),
        (json.dumps({**ANSWER, "summary": ["x"]}), "“summary” must be of type string"),
        (json.dumps({**ANSWER, "steps": "rm"}), "“steps” must be of type array"),
        (json.dumps({**ANSWER, "steps": [{"title": "x"}]}), "“steps[0]” lacks command, risk, reversible, why"),
        (json.dumps({**ANSWER, "steps": [step(reversible="yes")]}), "“steps[0].reversible” must be of type boolean"),
        (json.dumps({**ANSWER, "hypotheses": [{"cause": "x", "confidence": 7, "evidence": []}]}), "hypotheses[0].confidence"),
        (json.dumps({"verdict": "noise"}), "“the object” lacks summary, hypotheses"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_it_says_what_is_wrong_with_an_answer(text: str, words: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read_answer(text, EVIDENCE)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_it_ranks_hypotheses_and_takes_confidence_as_a_number_too() -> None:
    causes = [
        {"cause": "c", "confidence": 0.1, "evidence": []},
        {"cause": "b", "confidence": "medium", "evidence": []},
        {"cause": "a", "confidence": 0.9, "evidence": []},
    ]
    ranked = [(item.cause, item.confidence) for item in read(hypotheses=causes).hypotheses]
    assert ranked == [("a", "high"), ("b", "medium"), ("c", "low")]


def test_it_drops_citations_of_evidence_that_does_not_exist_and_says_so() -> None:
    answer = read(hypotheses=[{"cause": "c", "confidence": "low", "evidence": ["E2", "[e1]", "E99", "E2", "the logs"]}])
    assert answer.hypotheses[0].evidence == ("E2", "E1")
    assert "does not exist, left out: 2" in answer.remarks[0]


def test_it_caps_counts_and_lengths_and_says_so() -> None:
    answer = read(steps=[step(command="x" * 2_500)] * 20 + [step()] * 980, summary="s" * 10_000, unchecked=["u"] * 100)
    assert len(answer.steps) == 20
    assert len(answer.steps[0].command) == 2_000
    assert len(answer.summary) == 2_000
    assert "The model gave 1000 steps; the first 20 are kept." in answer.remarks
    assert any("shortened: 21" in remark for remark in answer.remarks)
    assert "first 20 are kept" in to_markdown(answer)
    assert len(json.dumps(answer.to_json())) < 100_000


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("\x1b[31mrm -rf /\x1b[0m", "rm -rf /"),
        ("ls\x1b]0;title\x07 -l", "ls -l"),
        ("ls\x1b]52;c;ZXZpbA==\x1b\\", "ls"),
        ("echo a\rrm b", "echo a\nrm b"),
        ("echo\ta\x00\x08\x7f\x9bK", "echo    a\ufffd"),
        ("echo \u202eevil\u2069\u200b\ufeff", "echo evil"),
        ("echo a\u2028rm b", "echo a rm b"),
        ("\x1b", ""),
        ("a\ud800b", "a\ufffdb"),
    ],
)
def test_it_strips_from_commands_whatever_a_terminal_would_obey(command: str, left: str) -> None:
    assert read(steps=[step(command=command)]).steps[0].command == left


def test_it_keeps_commands_of_several_lines_and_marks_them() -> None:
    [made] = read(steps=[step(command="cd /srv\r\nls")]).steps
    assert (made.command, made.multiline) == ("cd /srv\nls", True)


@given(st.text())
def test_it_leaves_no_control_character_in_any_text(text: str) -> None:
    left = strip_controls(text)
    assert all(char == "\n" or char.isprintable() or char.isspace() for char in left if ord(char) < 0xA0)
    left.encode()  # no lone surrogate
    assert strip_controls(left) == left


def test_it_writes_readable_markdown() -> None:
    text = to_markdown(read_answer(json.dumps(ANSWER), EVIDENCE))
    assert text.startswith("**Verdict: problem.** A runaway process holds the CPU of web-1.")
    assert "1. A runaway process — confidence high [E1]" in text
    assert "1. **See which process it is** (risk: none, reversible)" in text
    assert "   ```\n   ps aux --sort=-%cpu | head\n   ```" in text
    assert "### Not checked\n\n- The process list of the host" in text


def test_a_command_cannot_break_out_of_its_block() -> None:
    text = to_markdown(read(steps=[step(command="echo\n```\n# Heading\n````x")]))
    assert "   `````\n   echo\n   ```\n   # Heading\n   ````x\n   `````" in text
