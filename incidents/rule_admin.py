"""Rules in the admin: checked while they are written, and tried on the latest alerts before they are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from audit.modeladmin import AuditedModelAdmin
from incidents.matching import preview
from incidents.models import Rule

if TYPE_CHECKING:
    RuleModelForm = forms.ModelForm[Rule]
else:
    RuleModelForm = forms.ModelForm  # generic for the type checker only

LATEST = 1000
SHOWN = 50
GLOB = "A glob: * stands for anything, ? for one character, [ab] for one of these. Case does not matter."


class RuleForm(RuleModelForm):
    class Meta:
        model = Rule
        fields = (
            "name", "description", "enabled", "priority", "action",
            "alert_name_pattern", "severity_pattern", "instance_pattern", "job_pattern", "label_matchers",
        )  # fmt: skip
        labels = {
            "alert_name_pattern": "Alert name",
            "severity_pattern": "Severity",
            "instance_pattern": "Instance",
            "job_pattern": "Job",
        }
        help_texts = {
            "priority": "Lower numbers go first; of equal ones the first by name. The first rule that matches decides.",
            "action": "An ignored alert is kept too: the list hides it until it is asked for.",
            "alert_name_pattern": GLOB,
            "severity_pattern": "A glob on the word in the severity label, or on what the severity map makes of it.",
            "instance_pattern": "A glob on the instance label; * also matches where there is none.",
            "job_pattern": "A glob on the job label; * also matches where there is none.",
            "label_matchers": 'As in Alertmanager, one a line or with commas: team="db", env!="test", zone=~"eu-.*". All must hold; '
            "a label that is missing counts as empty, and an expression must fit the whole value.",
        }
        widgets = {
            "description": forms.Textarea({"rows": 2}),
            "label_matchers": forms.Textarea({"rows": 4, "spellcheck": "false", "autocapitalize": "off"}),
        }


class PreviewForm(RuleForm):
    """A form that is only tried: never valid, so the admin shows it again and saves nothing."""

    def is_valid(self) -> bool:
        super().is_valid()
        return False


@admin.register(Rule)
class RuleAdmin(AuditedModelAdmin):
    recorded_values = RuleForm.Meta.fields
    list_display = ("name", "priority", "action", "enabled", "conditions", "hits", "last_hit_at")
    list_filter = ("action", "enabled")
    search_fields = ("name", "description", "alert_name_pattern", "label_matchers")
    readonly_fields = ("hits", "last_hit_at")
    change_form_template = "admin/rule_form.html"
    fieldsets = (
        (None, {"fields": ("name", "description", "enabled")}),
        ("Which alerts", {"fields": RuleForm.Meta.fields[5:], "description": "All of these must hold."}),
        ("What to do", {"fields": ("action", "priority")}),
        ("So far", {"fields": readonly_fields, "description": "Counted once a minute."}),
    )

    @admin.display(description="Which alerts")
    def conditions(self, rule: Rule) -> str:
        """The conditions that the rule sets, as short as can be."""
        globs = {"": rule.alert_name_pattern, "severity ": rule.severity_pattern, "instance ": rule.instance_pattern}
        globs["job "] = rule.job_pattern
        set_ones = [f"{name}{pattern}" for name, pattern in globs.items() if pattern.strip("*")]
        return ", ".join([*set_ones, *rule.label_matchers.splitlines()]) or "every alert"

    def get_form(self, request: HttpRequest, obj: Rule | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = PreviewForm if "_preview" in request.POST else RuleForm
        return super().get_form(request, obj, change, **{**kwargs, "form": form})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Rule | None = None,
    ) -> HttpResponse:
        form = context["adminform"].form
        if isinstance(form, PreviewForm) and not form.errors:
            matches = preview(form.instance, LATEST)
            decided = sum(bool(match.decided_by and match.decided_by.id == form.instance.pk) for match in matches)
            context |= {"matches": matches[:SHOWN], "matched": len(matches), "decided": decided, "latest": LATEST}
        return super().render_change_form(request, context, add, change, form_url, obj)
