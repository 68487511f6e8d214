"""What this process counts, for Prometheus: the only module that knows prometheus-client.

Worker processes are not scraped: what they do is read from the database when the web process is.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
ALERTS_RECEIVED = Counter(
    "aiops_alerts_received", "Alerts stored, repeats included, by source.", ["source"], registry=REGISTRY
)
ALERTS_QUARANTINED = Counter("aiops_alerts_quarantined", "Input that could not become an alert.", registry=REGISTRY)
WEBHOOK_SECONDS = Histogram(
    "aiops_webhook_seconds", "From the whole body to the answer.", registry=REGISTRY, buckets=BUCKETS
)


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, values: dict[str, float] | float, label: str = "") -> Metric:
    """A counter whose value comes from the database: one number, or one for each value of `label`."""
    if not isinstance(values, dict):
        return CounterMetricFamily(name, text, value=values)
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def summary(name: str, text: str, count: int, total: float) -> Metric:
    return SummaryMetricFamily(name, text, count_value=count, sum_value=total)


class _Given(Collector):
    """Metrics that were read already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(more: Iterable[Metric]) -> bytes:
    """Everything counted here and `more`, in Prometheus' text format."""
    combined = CollectorRegistry()
    combined.register(_Given(REGISTRY.collect()))
    combined.register(_Given(more))
    return generate_latest(combined)
