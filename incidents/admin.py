"""The incidents' part of the admin."""

from incidents.quarantine_admin import QuarantineAdmin
from incidents.rule_admin import RuleAdmin
from incidents.source_admin import SourceAdmin

__all__ = ["QuarantineAdmin", "RuleAdmin", "SourceAdmin"]
