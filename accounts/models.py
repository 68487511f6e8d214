from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models.functions import Lower

from audit.log import record

USERNAME_RULE = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._@+-]*\Z",
    "A user name has letters (a to z), digits and . _ @ + - only, and starts with a letter or digit.",
)


class LastAdminError(Exception):
    """The change would leave nobody who can administer the console; the message is for the admin who tried."""

    def __init__(self) -> None:
        super().__init__("This is the last active admin. Make another person an admin first.")


class UserManager(BaseUserManager["User"]):
    def create_user(self, username: str, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(username=username.strip(), email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    @transaction.atomic
    def create_superuser(self, username: str, email: str, password: str | None = None, **fields: Any) -> User:
        """What `createsuperuser` calls: an admin, since the role decides everything. Writes the audit entry itself."""
        user = self.create_user(username, email, password, **{**fields, "role": User.Role.ADMIN})
        record("create_user", user, name=user.username, role=user.role, by="createsuperuser")
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        """The person who signs in with this name, in whatever case: no two names differ by case only."""
        return self.get(username__iexact=username)


class UserQuerySet(models.QuerySet["User"]):
    def active_admins(self) -> UserQuerySet:
        return self.filter(role=User.Role.ADMIN, is_active=True)

    def keep_an_admin_without(self, user: User) -> None:
        """Raise LastAdminError where `user` is the only active admin left.

        Until the transaction ends the admins' rows are locked, in one order: two admins who demote each other at the same
        moment cannot both succeed.
        """
        admins = list(self.active_admins().select_for_update().order_by("pk").values_list("pk", flat=True))
        if admins == [user.pk]:
            raise LastAdminError


class User(AbstractBaseUser):
    """A person. `role` alone decides what one may do: there are no groups, no permissions, no staff flag to drift."""

    class Role(models.TextChoices):
        USER = "user"
        ADMIN = "admin"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(
        max_length=50,
        unique=True,
        validators=[USERNAME_RULE],
        error_messages={"unique": "This user name is taken."},
    )
    email = models.EmailField(
        max_length=255, unique=True, error_messages={"unique": "Another person has this e-mail address."}
    )
    full_name = models.CharField(max_length=100, blank=True)
    password = models.CharField(max_length=255, db_column="password_hash")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.USER)
    default_llm_provider = models.ForeignKey(
        "assistant.LLMProvider", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_login = models.DateTimeField(null=True, blank=True)

    must_change_password = models.BooleanField(default=False)

    objects = UserManager.from_queryset(UserQuerySet)()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        db_table = "users"
        ordering = ["username"]
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=["user", "admin"]), name="users_role_known"),
            models.UniqueConstraint(
                Lower("username"),
                name="users_username_ci",
                violation_error_message="This user name is taken (upper and lower case do not differ).",
            ),
            models.UniqueConstraint(
                Lower("email"),
                name="users_email_ci",
                violation_error_message="Another person has this e-mail address.",
            ),
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def is_admin(self) -> bool:
        return self.is_active and self.role == self.Role.ADMIN

    # The names Django's admin asks for; all three are the role.
    @property
    def is_staff(self) -> bool:
        return self.is_admin

    @property
    def is_superuser(self) -> bool:
        return self.is_admin

    def change_password(self, password: str, *, one_time: bool = False) -> None:
        """Set and store the password. Every session of this person ends, as their hash is made from it."""
        self.set_password(password)
        self.must_change_password = one_time
        self.save(update_fields=["password", "must_change_password"])

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return self.is_admin

    def has_perms(self, perms: Any, obj: object = None) -> bool:
        return self.is_admin

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_admin

    def get_full_name(self) -> str:
        return self.full_name or self.username

    def get_short_name(self) -> str:
        return self.username


class SystemConfig(models.Model):
    """One configured key. The keys, their types, defaults and help are declared in `accounts.system_config`."""

    key = models.CharField(max_length=50, primary_key=True)
    value_json = models.JSONField()
    updated_at = models.DateTimeField(auto_now=True)
    updated_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_column="updated_by"
    )

    class Meta:
        db_table = "system_config"
        ordering = ["key"]
        verbose_name = "setting"
        verbose_name_plural = "system configuration"

    def __str__(self) -> str:
        return self.key
