"""What of this app the admin shows."""

from infra.server_admin import ServerAdmin

__all__ = ["ServerAdmin"]
