"""What a model answers: its shape, how it is found in the text, cleaned and capped, and how it reads as a page.

Everything in it is a stranger's: text to be shown, commands to be read by a person. Nothing here runs anything.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jsonschema import Draft202012Validator

from aiops.lib.text import clean

MAX_TEXT = 1_000_000  # characters of an answer that are looked at
MAX_HYPOTHESES, MAX_STEPS, MAX_UNCHECKED, MAX_CITATIONS = 10, 20, 20, 20
SUMMARY_LENGTH, TEXT_LENGTH, TITLE_LENGTH, COMMAND_LENGTH = 2_000, 1_000, 200, 2_000

VERDICTS = ("problem", "noise", "inconclusive")
CONFIDENCES = ("high", "medium", "low")  # words: a model's "0.87" would pretend to a precision that it has not
RISKS = ("none", "low", "medium", "high")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    # Strict modes of model servers want every property required and no other allowed.
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = _object(
    {
        "verdict": {"type": "string", "enum": list(VERDICTS)},
        "summary": _TEXT,
        "hypotheses": _list(
            _object(
                {
                    "cause": _TEXT,
                    "confidence": {"type": "string", "enum": list(CONFIDENCES)},
                    "evidence": _list(_TEXT),
                }
            )
        ),
        "steps": _list(
            _object(
                {
                    "title": _TEXT,
                    "command": _TEXT,
                    "risk": {"type": "string", "enum": list(RISKS)},
                    "reversible": {"type": "boolean"},
                    "why": _TEXT,
                }
            )
        ),
        "unchecked": _list(_TEXT),
    }
)


def _lenient(schema: Any) -> Any:
    """The same shape for what comes back: additions are ignored, and a confidence may be a number from 0 to 1."""
    if isinstance(schema, list):
        return [_lenient(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("enum") == list(CONFIDENCES):
        return {"anyOf": [schema, {"type": "number", "minimum": 0, "maximum": 1}]}
    return {name: _lenient(value) for name, value in schema.items() if name != "additionalProperties"}


_VALIDATOR = Draft202012Validator(_lenient(SCHEMA))


class AnswerError(ValueError):
    """The answer cannot be used. The message tells a person, and the model that is asked to repair it, what is wrong."""


@dataclass(frozen=True)
class Hypothesis:
    cause: str
    confidence: str
    evidence: tuple[str, ...]  # ids that exist: E1, E2 …


@dataclass(frozen=True)
class Step:
    """`command` is inert text without control characters; `multiline` warns whoever would paste it."""

    title: str
    command: str
    risk: str
    reversible: bool
    why: str
    multiline: bool


@dataclass(frozen=True)
class Answer:
    """A valid, cleaned answer. `hypotheses` are ranked, likeliest first; `remarks` say what was dropped or cut, and why."""

    verdict: str
    summary: str
    hypotheses: tuple[Hypothesis, ...]
    steps: tuple[Step, ...]
    unchecked: tuple[str, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `Analysis.result_json` holds: objects, lists and texts by the names of the fields."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Answer:
        """The answer of which `to_json` was stored."""
        hypotheses = [Hypothesis(**{**item, "evidence": tuple(item["evidence"])}) for item in stored["hypotheses"]]
        steps = [Step(**item) for item in stored["steps"]]
        rest = {name: tuple(stored[name]) for name in ("unchecked", "remarks")}
        return cls(stored["verdict"], stored["summary"], tuple(hypotheses), tuple(steps), **rest)

    def recommendations(self) -> list[dict[str, Any]]:
        """The steps as an alert's `recommendations_json` holds them: title, command, risk, reversible, why, multiline."""
        return self.to_json()["steps"]


def read_answer(text: str, evidence: Collection[str]) -> Answer:
    """The answer that is somewhere in `text`, with citations of the `evidence` ids only. Raises AnswerError where there is none."""
    found = _find_object(text)
    problem = next(
        iter(sorted(_VALIDATOR.iter_errors(found), key=lambda error: list(map(str, error.absolute_path)))), None
    )
    if problem:
        raise AnswerError(_in_words(problem))
    return _Cleaner(evidence).answer(found)


def _find_object(text: str) -> dict[str, Any]:
    """The first JSON object with a verdict, whatever stands around it: code fences, thoughts, greetings."""
    text, problem = text[:MAX_TEXT], ""
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
    for start in _object_starts(text):
        try:
            found, _ = decoder.raw_decode(text, start)
        except RecursionError:
            raise AnswerError("The JSON is nested too deeply.") from None
        except ValueError as exc:
            at_end = isinstance(exc, json.JSONDecodeError) and exc.pos >= len(text.rstrip()) - 1
            unfinished = at_end or "Unterminated" in str(exc)
            problem = problem or f"The JSON {'ends before it is complete' if unfinished else 'cannot be parsed'}."
            continue
        if "verdict" in found:
            return found
        problem = problem or "The JSON object has no “verdict”."
    raise AnswerError(problem or "There is no JSON object in the answer.")


def _object_starts(text: str) -> Iterator[int]:
    """Where an object may begin; only so many, as each may be read to the end in vain."""
    for count, match in enumerate(re.finditer(r"\{\s*[\"}]", text)):
        if count == 20:
            return
        yield match.start()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _in_words(error: Any) -> str:
    """What does not fit and where, without repeating the value: that could be megabytes."""
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    rules = {
        "enum": lambda: f"must be one of {', '.join(map(str, error.validator_value))}",
        "type": lambda: f"must be of type {error.validator_value}",
        "required": lambda: f"lacks {', '.join(name for name in error.validator_value if name not in error.instance)}",
        "anyOf": lambda: f"must be one of {', '.join(CONFIDENCES)}",
    }
    return f"“{where[:100] or 'the object'}” {rules.get(error.validator, lambda: 'is not valid')()}."


class _Cleaner:
    """Makes an Answer of a valid object, and keeps count of what it drops on the way."""

    def __init__(self, evidence: Collection[str]) -> None:
        self.evidence = {number.upper(): number for number in evidence}
        self.remarks: list[str] = []
        self.unknown = self.shortened = 0

    def answer(self, found: Mapping[str, Any]) -> Answer:
        hypotheses = [self.hypothesis(item) for item in self.first(found["hypotheses"], MAX_HYPOTHESES, "hypotheses")]
        hypotheses.sort(key=lambda hypothesis: CONFIDENCES.index(hypothesis.confidence))
        steps = tuple(self.step(item) for item in self.first(found["steps"], MAX_STEPS, "steps"))
        unchecked = [
            self.text(item, TEXT_LENGTH) for item in self.first(found["unchecked"], MAX_UNCHECKED, "unchecked points")
        ]
        summary = self.text(found["summary"], SUMMARY_LENGTH)
        if self.unknown:
            self.remarks.append(f"Citations of evidence that does not exist, left out: {self.unknown}.")
        if self.shortened:
            self.remarks.append(f"Texts that were too long, shortened: {self.shortened}.")
        return Answer(
            found["verdict"], summary, tuple(hypotheses), steps, tuple(filter(None, unchecked)), tuple(self.remarks)
        )

    def first(self, items: list[Any], most: int, what: str) -> list[Any]:
        if len(items) > most:
            self.remarks.append(f"The model gave {len(items)} {what}; the first {most} are kept.")
        return items[:most]

    def hypothesis(self, item: Mapping[str, Any]) -> Hypothesis:
        cited = [self.evidence.get(number.strip().strip("[]").upper()) for number in item["evidence"]]
        self.unknown += cited.count(None)
        known = tuple(dict.fromkeys(number for number in cited if number))[:MAX_CITATIONS]
        return Hypothesis(self.text(item["cause"], TEXT_LENGTH), _confidence(item["confidence"]), known)

    def step(self, item: Mapping[str, Any]) -> Step:
        command = self.text(item["command"], COMMAND_LENGTH)
        return Step(
            title=self.line(item["title"], TITLE_LENGTH),
            command=command,
            risk=item["risk"],
            reversible=item["reversible"],
            why=self.text(item["why"], TEXT_LENGTH),
            multiline="\n" in command,
        )

    def line(self, text: str, length: int) -> str:
        return " ".join(self.text(text, length).split())

    def text(self, text: str, length: int) -> str:
        text = strip_controls(text).strip()
        if len(text) <= length:
            return text
        self.shortened += 1
        return text[: length - 1] + "…"


def _confidence(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "high" if value >= 0.75 else "medium" if value >= 0.4 else "low"


_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)


def strip_controls(text: str) -> str:
    """`text` without terminal escape sequences, control characters and invisible or direction-changing ones. Line ends become
    newlines, tabs spaces: what is left looks like what it is."""
    text = _ESCAPES.sub("", clean(text)).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    text = text.replace("\u2028", " ").replace("\u2029", " ").replace("\x85", " ")
    return "".join(char for char in text if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def to_markdown(answer: Answer) -> str:
    """The answer as `ai_analysis`: markdown that reads well even as plain text."""
    parts = [f"**Verdict: {answer.verdict}.** {answer.summary}"]
    if answer.hypotheses:
        lines = []
        for place, hypothesis in enumerate(answer.hypotheses, 1):
            cited = f" [{', '.join(hypothesis.evidence)}]" if hypothesis.evidence else " (no evidence cited)"
            lines.append(f"{place}. {_indented(hypothesis.cause)} — confidence {hypothesis.confidence}{cited}")
        parts.append("### Likely causes\n\n" + "\n".join(lines))
    if answer.steps:
        parts.append("### Steps\n\n" + "\n".join(_step(place, step) for place, step in enumerate(answer.steps, 1)))
    if answer.unchecked:
        parts.append("### Not checked\n\n" + "\n".join(f"- {_indented(item)}" for item in answer.unchecked))
    if answer.remarks:
        parts.append("### About this answer\n\n" + "\n".join(f"- {remark}" for remark in answer.remarks))
    return "\n\n".join(parts) + "\n"


def _step(place: int, step: Step) -> str:
    undo = "reversible" if step.reversible else "not reversible"
    text = f"{place}. **{step.title or 'Step'}** (risk: {step.risk}, {undo})"
    if step.why:
        text += f"\n   {_indented(step.why)}"
    if step.command:
        # A fence longer than any run of backticks inside cannot be closed from inside.
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", step.command)), default=0))
        text += f"\n\n   {fence}\n" + "\n".join(f"   {line}" for line in step.command.split("\n")) + f"\n   {fence}\n"
    return text


def _indented(text: str) -> str:
    return text.replace("\n", "\n   ")
