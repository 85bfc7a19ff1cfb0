"""What the policy server tells Prometheus. Everything is computed at the scrape."""

import time
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from isthmus.policy.feeds import Feeds
from isthmus.policy.pilot_feed import PilotFeed
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.redis_quotas import RedisQuotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.tally import Tally


class PolicyMetrics(Collector):
    """Register it once."""

    def __init__(
        self, rulebook: Rulebook, tally: Tally, feeds: Feeds, local: MemoryQuotas, shared: RedisQuotas | None
    ) -> None:
        self._rulebook = rulebook
        self._tally = tally
        self._feeds = feeds
        self._local = local
        self._shared = shared
        self.pods: PilotFeed | None = None
        """The feed of the mesh's pods, where one is followed."""

    def collect(self) -> Iterable[Metric]:
        """All families."""
        checks = CounterMetricFamily(
            "isthmus_policy_checks", "Checks, by what was answered.", labels=["answer"]
        )
        for answer, count in self._tally.checks.items():
            checks.add_metric([answer], count)
        yield checks
        rules = CounterMetricFamily(
            "isthmus_policy_rule", "What rules did.", labels=["rule", "outcome", "dry_run"]
        )
        for (label, outcome, dry_run), count in self._tally.rules.items():
            rules.add_metric([label, outcome.value, str(dry_run).lower()], count)
        yield rules
        yield GaugeMetricFamily(
            "isthmus_policy_in_force", "Policies in force.", value=len(self._rulebook.policies())
        )
        rejected = GaugeMetricFamily(
            "isthmus_policy_rejected",
            "1 for each policy whose latest version is rejected.",
            labels=["policy"],
        )
        for ref in self._rulebook.rejected:
            rejected.add_metric([str(ref)], 1)
        yield rejected
        yield from self._lists()
        if self.pods is not None:
            yield from _feed(self.pods)
        yield CounterMetricFamily(
            "isthmus_policy_quota_keys_shared",
            "Hits that shared a count, because their quota had too many keys.",
            value=self._local.shared,
        )
        if self._shared is not None:
            yield CounterMetricFamily(
                "isthmus_policy_redis_failures",
                "How often Redis could not be asked.",
                value=self._shared.failures,
            )

    def _lists(self) -> Iterable[Metric]:
        age = GaugeMetricFamily(
            "isthmus_policy_list_age_seconds", "Time since a list was last read.", labels=["url"]
        )
        failing = GaugeMetricFamily(
            "isthmus_policy_list_failing", "Whether a list could not be read when last tried.", labels=["url"]
        )
        for feed in self._feeds.status():
            failing.add_metric([feed.source.url], int(bool(feed.error)))
            if feed.read_at:
                age.add_metric([feed.source.url], max(0.0, time.time() - feed.read_at))
        yield age
        yield failing


def _feed(pods: PilotFeed) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "isthmus_policy_pods", "Pods of the mesh that are known.", value=len(pods.index.versions)
    )
    yield GaugeMetricFamily(
        "isthmus_policy_pods_followed",
        "1 while the control plane tells of pods; at 0 what it told last stays.",
        value=int(bool(pods.heard_at) and not pods.error),
    )
