"""`manage.py create_provider`: a model to ask, for scripts."""

from __future__ import annotations

import json
import os
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from assistant import providers
from assistant.models import LLMProvider
from assistant.parameters import PARAMETERS, PROVIDER_TYPES, ParameterError, check_provider_type, checked
from audit.log import record


class Command(BaseCommand):
    help = "Create an LLM provider. Where there is one of that name, nothing changes. The first one is the default."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="The provider's name; it is created once.")
        parser.add_argument("--type", required=True, help=f"As litellm names it: {', '.join(PROVIDER_TYPES[:6])} …")
        parser.add_argument("--model", required=True, metavar="M", help="The model's name there, such as gpt-4o.")
        parser.add_argument(
            "--api-base", default="", metavar="URL", help="Where the model's server is, if not the usual."
        )
        parser.add_argument(
            "--api-key-env", default="", metavar="VAR", help="The environment variable that holds the API key."
        )
        parser.add_argument("--config", default="", metavar="JSON", help=f"Parameters: {', '.join(PARAMETERS)}.")
        parser.add_argument("--default", action="store_true", help="Make it the default, in place of the one there is.")

    def handle(self, *args: Any, **options: Any) -> None:
        provider, key = self._provider(options), self._key(options["api_key_env"])
        with transaction.atomic():
            if LLMProvider.objects.select_for_update().filter(name=provider.name).exists():
                self.stderr.write(f"There is a provider “{provider.name}” already; nothing was changed.")
                return
            providers.store(provider, key=key)
            record(
                "create_provider", provider, name=provider.name, model=f"{provider.provider_type}/{provider.model_id}"
            )
        default = " It is the default." if provider.is_default else ""
        self.stdout.write(f"Created the provider “{provider.name}”.{default}")

    def _provider(self, options: dict[str, Any]) -> LLMProvider:
        config = self._config(options["config"])
        if options["api_base"]:
            config["api_base"] = options["api_base"]
        provider = LLMProvider(
            name=options["name"],
            provider_type=options["type"],
            model_id=options["model"],
            config_json=config,
            is_default=options["default"],
        )
        try:
            check_provider_type(provider.provider_type)
            checked(config)
            provider.clean_fields()
        except ParameterError as exc:
            raise CommandError(str(exc)) from exc
        except ValidationError as exc:
            raise CommandError(
                "; ".join(f"{name}: {' '.join(said)}" for name, said in exc.message_dict.items())
            ) from exc
        return provider

    def _config(self, text: str) -> dict[str, Any]:
        try:
            config = json.loads(text or "{}")
        except ValueError as exc:
            raise CommandError(f"--config is no JSON: {exc}") from exc
        if not isinstance(config, dict):
            raise CommandError('--config takes an object such as {"temperature": 0.2}.')
        return config

    def _key(self, variable: str) -> str:
        if not variable:
            return ""
        key = os.environ.get(variable, "")
        if not key:
            raise CommandError(f"The environment variable {variable} is not set, or empty.")
        try:
            return providers.checked_key(key)
        except providers.KeyProblem as exc:
            raise CommandError(f"{variable}: {exc}") from exc
