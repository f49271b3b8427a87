"""What `check` and `lock` print of changes, and which of them they were told to let pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.contracts import RULES, Finding

__all__ = ["Ignored", "described", "ignored", "is_ignored"]

Ignored = Sequence[tuple[str, str]]
"""Rules that are let pass, each everywhere or for a message alone."""


def ignored(given: Sequence[str]) -> Ignored:
    """Return what ``--ignore RULE`` and ``--ignore RULE:MESSAGE`` say. Raises `CommandFailure` for an unknown rule."""
    found = []
    for text in given:
        rule, _, message = text.partition(":")
        if rule not in RULES:
            close = difflib.get_close_matches(rule.upper(), RULES, 1)
            hint = f"did you mean {close[0]}?" if close else f"they are: {', '.join(RULES)}"
            raise CommandFailure(f"there is no rule {rule!r}; {hint}", USAGE)
        found.append((rule, message))
    return found


def is_ignored(finding: Finding, rules: Ignored) -> bool:
    """Return whether a finding is one of those."""
    name = finding.message.partition(" ")[0]
    return any(rule == finding.rule and message in ("", name) for rule, message in rules)


def described(finding: Finding, *, passed: bool = False) -> Iterator[str]:
    """Yield the lines of one change."""
    verdict = "ignored" if passed else "BREAKS" if finding.breaks else "ok"
    where = f"{finding.message}  {finding.path}".rstrip()
    change = f"  {finding.old} -> {finding.new}" if finding.old or finding.new else ""
    yield f"{verdict:8}{finding.rule}  {where}{change}"
    if finding.breaks and not passed:
        for failure in finding.failures:
            yield f"{'':8}{failure.sender} peers' messages fail at {failure.receiver} ones: {failure.error}"
        if finding.remedy:
            yield f"{'':8}instead: {finding.remedy}"
