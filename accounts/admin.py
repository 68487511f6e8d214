"""What of this app the admin shows. Each model has a module of its own."""

from accounts.attempt_admin import AttemptAdmin
from accounts.config_admin import SettingAdmin
from accounts.user_admin import UserAdmin

__all__ = ["AttemptAdmin", "SettingAdmin", "UserAdmin"]
