"""A provider's JSON parameters: the ones that there are, and what each takes. Whatever else is refused, never passed on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiops.lib.addresses import AddressError, refuse_internal


class ParameterError(ValueError):
    """A parameter cannot be used; the message is for the admin who entered it."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: what it does, and the check of its value, which returns what is wrong or ""."""

    help: str
    problem: Callable[[Any], str]


def _number(minimum: float, maximum: float, whole: bool = False) -> Callable[[Any], str]:
    def problem(value: Any) -> str:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not minimum <= value <= maximum:
            return f"takes a {'whole ' if whole else ''}number from {minimum:g} to {maximum:g}"
        return ""

    return problem


def _word(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@ -]{0,199}", value):
        return "takes a name of letters, digits and . _ : @ - (at most 200)"
    return ""


def _one_of(*values: str) -> Callable[[Any], str]:
    return lambda value: "" if value in values else f"takes one of {', '.join(values)}"


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,500}", value):
        return "takes an address such as http://127.0.0.1:11434/v1"
    if "?" in value or "#" in value:
        return "takes an address without ? and #: it is shown in clear"
    try:
        refuse_internal(value, resolve=False)  # names are looked up when the model is called
    except AddressError as exc:
        return f"cannot be this address. {str(exc).rstrip('.')}"
    return ""


PARAMETERS: dict[str, Parameter] = {
    "api_base": Parameter("Where the model's server is, for local models and gateways.", _address),
    "api_version": Parameter("The API's version (Azure).", _word),
    "frequency_penalty": Parameter("-2 to 2.", _number(-2, 2)),
    "max_completion_tokens": Parameter("Longest answer in tokens, for models that reason.", _number(1, 200_000, True)),
    "max_tokens": Parameter("Longest answer in tokens.", _number(1, 200_000, True)),
    "organization": Parameter("The organisation to bill (OpenAI).", _word),
    "presence_penalty": Parameter("-2 to 2.", _number(-2, 2)),
    "reasoning_effort": Parameter(
        "How long a reasoning model thinks.", _one_of("none", "minimal", "low", "medium", "high", "xhigh")
    ),
    "seed": Parameter("A whole number, for answers that repeat.", _number(0, 2**31 - 1, True)),
    "aws_region_name": Parameter("The region (Bedrock).", _word),
    "temperature": Parameter("0 is sober, 2 is wild.", _number(0, 2)),
    "timeout": Parameter("Seconds that one call may take in all.", _number(1, 3600)),
    "top_p": Parameter("0 to 1.", _number(0, 1)),
    "vertex_location": Parameter("The region (Vertex AI).", _word),
    "vertex_project": Parameter("The project (Vertex AI).", _word),
}
_SECRET = re.compile(r"(?i)key|token|secret|password|headers|credential")


def checked(config: Any) -> Mapping[str, Any]:
    """The parameters as they are; raises ParameterError with one sentence for each that cannot be used."""
    if not isinstance(config, Mapping):
        raise ParameterError('Enter an object such as {"temperature": 0.2, "max_tokens": 2000}.')
    problems = [problem for name, value in config.items() if (problem := _problem(name, value))]
    if problems:
        raise ParameterError(" ".join(problems))
    return config


def _problem(name: str, value: Any) -> str:
    shown = name[:50]
    if name in PARAMETERS:
        problem = PARAMETERS[name].problem(value)
        return f"“{shown}” {problem}." if problem else ""
    if _SECRET.search(name):
        return f"“{shown}” is not a parameter: these are shown in clear. Secrets go into the field for the API key."
    return f"“{shown}” is not a known parameter. Known ones: {', '.join(PARAMETERS)}."


_TYPE = re.compile(r"[a-z][a-z0-9_-]{1,48}")
# litellm asks these in ways that its own HTTP hooks do not see, or loads the model into the process.
_UNGUARDED = {"aiohttp_openai", "petals", "vllm", "custom"}

# The usual ones, to choose from; whatever litellm knows may be typed.
PROVIDER_TYPES = (
    "openai", "anthropic", "azure", "gemini", "vertex_ai", "bedrock", "mistral", "groq", "deepseek", "openrouter", "ollama_chat",
    "hosted_vllm", "llamafile", "lm_studio", "xai", "cohere_chat", "together_ai", "fireworks_ai", "perplexity", "watsonx",
)  # fmt: skip


def check_provider_type(value: str) -> None:
    """Raise ParameterError where litellm could not have such a provider type, or is not safe to call with it."""
    if not _TYPE.fullmatch(value):
        raise ParameterError("Enter the type as litellm names it, such as openai, anthropic or ollama_chat.")
    if value in _UNGUARDED:
        raise ParameterError(
            f"The type “{value}” is not supported: its requests cannot be checked. Try openai or hosted_vllm."
        )
