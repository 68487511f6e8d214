"""The admin: for the role admin only, signed in to like every other page, its index grouped by purpose."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

GROUPS = ("Configuration", "People", "Audit")
# Packages that register models of their own, which are either not for people or managed elsewhere.
HIDDEN = ("axes", "procrastinate", "django.contrib.auth")


class ConsoleAdminConfig(AdminConfig):
    default_site = "aiops.lib.admin_site.ConsoleAdminSite"


class ConsoleAdminSite(admin.AdminSite):
    site_header = "AIOps administration"
    site_title = "AIOps administration"
    index_title = "Administration"
    site_url = "/"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        if admin_class is None or not admin_class.__module__.startswith(HIDDEN):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(getattr(request.user, "is_admin", False))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _to_login(request.get_full_path())
            if not self.has_permission(request):
                raise PermissionDenied
            return inner(request, *args, **kwargs)

        return guarded

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """There is one place to sign in. Nothing posted here is looked at."""
        return _to_login(request.GET.get("next") or reverse("admin:index"))

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return redirect("accounts:logout", preserve_request=True)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return redirect("accounts:password-change")

    def password_change_done(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return redirect("accounts:profile")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """The models by purpose (`group` of their admin class) instead of by app; one app's page lists that app."""
        apps = super().get_app_list(request, app_label)
        if app_label:
            return apps
        groups: dict[str, list[dict[str, Any]]] = {name: [] for name in GROUPS}
        for app in apps:
            for model in app["models"]:
                groups[self._group(model["model"])].append(model)
        return [
            {"name": name, "app_label": name.lower(), "app_url": "", "has_module_perms": True, "models": models}
            for name, models in groups.items()
            if models
        ]

    def _group(self, model: type[Model]) -> str:
        return getattr(self._registry[model], "group", GROUPS[0])


def _to_login(goal: str) -> HttpResponse:
    return redirect(f"{reverse('accounts:login')}?next={quote(goal)}")
