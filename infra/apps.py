from django.apps import AppConfig


class InfrastructureConfig(AppConfig):
    name = "infra"
    verbose_name = "Infrastructure"
