from django.apps import AppConfig

from aiops import checks  # registers them


class AiopsConfig(AppConfig):
    name = "aiops"
    verbose_name = "Console"


__all__ = ["AiopsConfig", "checks"]
