"""Which rule a name falls under, and what it becomes. Answers are remembered, the least used forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from isthmus.statsd.glob import GlobTrie
from isthmus.statsd.line import Kind
from isthmus.statsd.mapping_file import MetricType
from isthmus.statsd.names import escape_name
from isthmus.statsd.rules import Rule, Rules, SeriesOptions

_METRIC_TYPES = {
    Kind.COUNTER: MetricType.COUNTER,
    Kind.GAUGE: MetricType.GAUGE,
    Kind.SET: MetricType.GAUGE,
    Kind.OBSERVER: MetricType.OBSERVER,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where samples of a name and kind go. `mapped` tells whether a rule said so."""

    metric: str
    labels: Mapping[str, str]
    honor_labels: bool
    drop: bool
    mapped: bool
    options: SeriesOptions


class Mapper:
    """One checked mapping file in force."""

    def __init__(self, rules: Rules, *, cache_size: int = 1000) -> None:
        self._rules = rules
        self._tries = {kind: GlobTrie(ordered=rules.ordered) for kind in MetricType}
        self._regexes: dict[MetricType, list[Rule]] = {kind: [] for kind in MetricType}
        for index, rule in enumerate(rules.rules):
            for kind in MetricType if rule.metric_type is None else (rule.metric_type,):
                if rule.regex is None:
                    self._tries[kind].add(rule.match, index)
                else:
                    self._regexes[kind].append(rule)
        self._remembered = lru_cache(maxsize=cache_size)(self._look_up)

    def __len__(self) -> int:
        return len(self._rules.rules)

    def find(self, name: str, kind: Kind) -> Target:
        """The target of samples with this statsd name. All globs come before all regexes."""
        return self._remembered(name, _METRIC_TYPES[kind])

    def _look_up(self, name: str, kind: MetricType) -> Target:
        if (found := self._tries[kind].find(name)) is not None:
            index, captured = found
            return _target(self._rules.rules[index], {str(at + 1): text for at, text in enumerate(captured)})
        for rule in self._regexes[kind]:
            if rule.regex is not None and (match := rule.regex.search(name)):
                groups = {str(at + 1): text or "" for at, text in enumerate(match.groups())}
                return _target(rule, {"0": match[0], **groups, **match.groupdict("")})
        return Target(escape_name(name), {}, False, False, False, self._rules.unmapped)


def _target(rule: Rule, captures: Mapping[str, str]) -> Target:
    return Target(
        metric=escape_name(rule.name.fill(captures)),
        labels={label: text.fill(captures) for label, text in rule.labels.items()},
        honor_labels=rule.honor_labels,
        drop=rule.drop,
        mapped=True,
        options=rule.options,
    )
