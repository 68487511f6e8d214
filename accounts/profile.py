"""One's own account: name, address, and which model is asked on one's behalf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.requests import PersonRequest
from audit.log import record

if TYPE_CHECKING:
    UserForm = forms.ModelForm[User]
else:
    UserForm = forms.ModelForm  # generic for the type checker only


class ProfileForm(UserForm):
    class Meta:
        model = User
        fields = ("full_name", "email", "default_llm_provider")
        labels = {"full_name": "Full name", "email": "E-mail", "default_llm_provider": "Preferred model"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-select" if isinstance(field, forms.ModelChoiceField) else "form-control"
        choice = cast("forms.ModelChoiceField[Any]", self.fields["default_llm_provider"])
        choice.queryset = choice.queryset.filter(enabled=True) if choice.queryset is not None else None
        default = choice.queryset.filter(is_default=True).first() if choice.queryset is not None else None
        choice.empty_label = (
            f"The system’s default ({default})" if default else "The system’s default (none is set yet)"
        )
        choice.help_text = (
            "Asked when you start an analysis yourself. Analyses started by a rule use the system’s default."
        )


@require_http_methods(["GET", "POST"])
@login_required
def profile(request: PersonRequest) -> HttpResponse:
    # A row of its own: a form that fails must not leave its values on request.user, which the page's header shows.
    user = User.objects.get(pk=request.user.pk)
    form = ProfileForm(request.POST if request.method == "POST" else None, instance=user)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            user.save(update_fields=ProfileForm.Meta.fields)
            record("change_profile", user, fields=form.changed_data)
        messages.success(request, "Your profile is saved.")
        return redirect("accounts:profile")
    return render(request, "accounts/profile.html", {"form": form}, status=422 if form.errors else 200)
