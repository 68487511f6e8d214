from incidents.models.alert import Alert, AlertEvent
from incidents.models.rule import Rule
from incidents.models.source import AlertSource, QuarantinedAlert

__all__ = ["Alert", "AlertEvent", "AlertSource", "QuarantinedAlert", "Rule"]
