"""Django's `changepassword`, for whoever is locked out of the admin, with an entry in the audit log."""

from __future__ import annotations

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.db import transaction

from accounts.models import User
from audit.log import record


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        name = options["username"] or getpass.getuser()
        with transaction.atomic():
            said = super().handle(*args, **{**options, "username": name})
            user = User.objects.get(username=name)
            record("change_password", user, name=user.username, by="changepassword")
        return said
