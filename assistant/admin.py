"""What of this app the admin shows. Each model has a module of its own."""

from assistant.provider_admin import ProviderAdmin

__all__ = ["ProviderAdmin"]
