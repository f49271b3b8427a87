"""`compare`: what has changed between two contracts of an extension, and who fails by it.

A protocol is spoken by old and new peers at once, so each message is looked at twice: sent by the old to the new, and
by the new to the old. A gap in one of the two is a break; all other changes are told without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from oddwire.contracts.exchanges import exchanged
from oddwire.contracts.gaps import Gap, rule_of, shown
from oddwire.contracts.records import Records
from oddwire.contracts.rules import RULES, Failure, Finding

__all__ = ["compare"]

_Contract = Mapping[str, Any]
_OLD: Final = "old"
_NEW: Final = "new"
_KNOWN_CODECS: Final = ("bolt", "json", "msgpack", "raw")
_INSIDE: Final = ("fields", "validators")


def compare(old: _Contract, new: _Contract) -> list[Finding]:
    """Return what has changed from one contract to another, those that break first, each by message and path."""
    found = [*_extension(old, new), *_messages(old, new), *_methods(old, new)]
    order = [*RULES]
    return sorted(found, key=lambda one: (not one.breaks, order.index(one.rule)))


# The extension -------------------------------------------------------------------------------------------------------


def _extension(old: _Contract, new: _Contract) -> Iterator[Finding]:
    name = new["extension"]
    for key in ("feature", "peer_feature"):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if before is None:
            yield Finding(rule="FEATURE_ADDED", message=name, path=key, old="none", new=str(after))
        else:
            error = "no error: sees no support, and is sent nothing of even type"
            yield _both("FEATURE_CHANGED", name, key, (before, after), error)
    versions = [sorted(each["versions"]) for each in (old, new)]
    if versions[0] != versions[1] or old["version"] != new["version"]:
        words = [f"{each['version']}, speaks {', '.join(each['versions']) or 'none'}" for each in (old, new)]
        if versions[0] and versions[1] and not set(versions[0]) & set(versions[1]):
            yield _both("VERSIONS_DISJOINT", name, "versions", words, "NotSupported, where support is asked for")
        else:
            yield Finding(rule="VERSION_CHANGED", message=name, path="versions", old=words[0], new=words[1])


def _both(rule: str, message: str, path: str, change: Sequence[object], error: str) -> Finding:
    """Return a break in both directions."""
    failures = (Failure(sender=_OLD, receiver=_NEW, error=error), Failure(sender=_NEW, receiver=_OLD, error=error))
    return Finding(rule=rule, message=message, path=path, old=str(change[0]), new=str(change[1]), failures=failures)


# Messages ------------------------------------------------------------------------------------------------------------


def _messages(old: _Contract, new: _Contract) -> Iterator[Finding]:
    before = {message["type"]: message for message in old["messages"]}
    after = {message["type"]: message for message in new["messages"]}
    gone = {message["name"]: message for number, message in before.items() if number not in after}
    places = [{number: message["name"] for number, message in each.items()} for each in (before, after)]
    swapped = exchanged(*places)
    for _, message in sorted(after.items()):
        if message["name"] in swapped:
            earlier = next(one for one in before.values() if one["name"] == message["name"])
            yield from _renumbered(earlier, message, "no error: taken for another message")
    for number, message in sorted(after.items()):
        if number in before:
            yield from _message(old, new, before[number], message)
        elif (earlier := gone.pop(message["name"], None)) is not None:
            error = "UnknownMessage: it is ignored, or ends the connection if it is even"
            yield from _renumbered(earlier, message, error)
        else:
            rule = "MESSAGE_ADDED" if number % 2 else "MESSAGE_ADDED_EVEN"
            yield Finding(rule=rule, message=_title(message), path="", old="none", new=message["codec"])
    for message in gone.values():
        error = "UnknownMessage: it is ignored" if message["type"] % 2 else "UnknownMessage: it ends the connection"
        failure = Failure(sender=_OLD, receiver=_NEW, error=error)
        yield Finding(
            rule="MESSAGE_REMOVED",
            message=_title(message),
            path="",
            old=message["codec"],
            new="none",
            failures=(failure,),
        )


def _renumbered(before: _Contract, after: _Contract, error: str) -> Iterator[Finding]:
    numbers = [f"{one['type']} ({one['type']:#06x})" for one in (before, after)]
    yield _both("TYPE_RENUMBERED", _title(after), "", numbers, error)
    if (before["type"] - after["type"]) % 2:
        yield _both("EVEN_ODD_CHANGED", _title(after), "", numbers, error)


def _message(old: _Contract, new: _Contract, before: _Contract, after: _Contract) -> Iterator[Finding]:
    title = _title(after)
    if before["name"] != after["name"]:
        yield Finding(rule="MESSAGE_RENAMED", message=title, path="", old=before["name"], new=after["name"])
    codecs = [(each["codec"], each.get("codec_settings")) for each in (before, after)]
    if codecs[0] != codecs[1]:
        words = [name if settings is None else f"{name}, {shown(settings)}" for name, settings in codecs]
        yield _both("CODEC_CHANGED", title, "", words, "MalformedMessage, or another value")
        return
    yield from _declarations(title, before, after)
    yield from _answers(title, old, new, before, after)
    codec = after["codec"]
    inside = [{key: each[key] for key in _INSIDE if key in each} for each in (before, after)]

    def gaps(forward: bool, one: _Contract, other: _Contract, sent: _Contract, read: _Contract) -> Iterator[Gap]:
        if sent["max_size"] > read["max_size"]:
            error = f"MalformedMessage: at most {read['max_size']} bytes"
            yield Gap("max_size", "", str(sent["max_size"]), str(read["max_size"]), error)
        if codec == "raw":
            yield from Records(one, other, "bolt", forward=forward).record(
                _uncounted(sent), _uncounted(read), "$", "open"
            )
        elif codec in _KNOWN_CODECS:
            yield from Records(one, other, codec, forward=forward).record(sent, read, "$", "open")
        elif inside[0] != inside[1]:
            yield Gap("codec", "", codec, codec, "that is for the codec to say")

    found = [*_merged(title, gaps, old, new, before, after)]
    yield from found
    if not found and inside[0] != inside[1]:
        yield Finding(rule="OTHER_CHANGED", message=title, path="", old="", new="")


def _uncounted(message: _Contract) -> _Contract:
    """Return a message of the raw codec as bolt's: its bytes are all that there is, whatever counts them."""
    (field,) = message["fields"]
    return {**message, "fields": [field if isinstance(field.get("count"), int) else {**field, "count": "rest"}]}


def _declarations(title: str, before: _Contract, after: _Contract) -> Iterator[Finding]:
    for key, rule, words in (
        ("even", "EVEN_KNOWN_CHANGED", "NotSupported: it is not sent without a hello"),
        ("reliable", "RELIABLE_CHANGED", "RemoteFailure: it is refused"),
        ("stream", "STREAM_CHANGED", "MalformedMessage, or a stream without an end"),
        ("match", "MATCH_CHANGED", "ReplyTimeout: what is answered belongs to no request"),
    ):
        values = [each.get(key) for each in (before, after)]
        if key == "match":
            values = [
                None if name is None else _place_of(each, name)
                for each, name in zip((before, after), values, strict=True)
            ]
        if values[0] != values[1]:
            yield _both(rule, title, "", [shown(each.get(key)) for each in (before, after)], words)


def _place_of(message: _Contract, name: str | None) -> Any:
    """Return what says on the wire which field it is; None without one."""
    if name is None:
        return None
    names = [field["name"] for field in message["fields"]]
    field = message["fields"][names.index(name)] if name in names else {}
    return (names.index(name) if name in names else -1) if message["codec"] == "bolt" else field.get("key", name)


def _answers(title: str, old: _Contract, new: _Contract, before: _Contract, after: _Contract) -> Iterator[Finding]:
    replies = [set(each.get("replies", ())) for each in (before, after)]
    if replies[0] == replies[1] or not replies[0]:
        return  # nothing was promised
    words = [", ".join(f"{number:#06x}" for number in sorted(each)) or "none" for each in replies]
    error = "ReplyTimeout: it is none of the replies"
    for rule, more, sender, receiver in (
        ("REPLY_ADDED", replies[1] - replies[0], _NEW, _OLD),
        ("REPLY_REMOVED", replies[0] - replies[1], _OLD, _NEW),
    ):
        if more:
            failure = Failure(sender=sender, receiver=receiver, error=error)  # type: ignore[arg-type]
            yield Finding(rule=rule, message=title, path="", old=words[0], new=words[1], failures=(failure,))


def _title(message: _Contract) -> str:
    return f"{message['name']} {message['type']:#06x}"


# Both directions -----------------------------------------------------------------------------------------------------

_Gaps = Callable[[bool, _Contract, _Contract, Any, Any], Iterator[Gap]]


def _merged(title: str, gaps: _Gaps, old: _Contract, new: _Contract, before: Any, after: Any) -> Iterator[Finding]:
    """Yield the findings of the gaps in both directions, those of one rule and place as one."""
    found: dict[tuple[str, str], Finding] = {}
    for forward in (True, False):
        sides = (old, new, before, after) if forward else (new, old, after, before)
        for gap in gaps(forward, *sides):
            key = (rule_of(gap, forward=forward), gap.path)
            words = (gap.sent, gap.read) if forward else (gap.read, gap.sent)
            ends = (_OLD, _NEW) if forward else (_NEW, _OLD)
            is_break = gap.error and RULES[key[0]].breaks != "never"
            failures = (Failure(sender=ends[0], receiver=ends[1], error=gap.error),) if is_break else ()  # type: ignore[arg-type]
            if key in found:
                words, failures = (found[key].old, found[key].new), (*found[key].failures, *failures)
            found[key] = Finding(
                rule=key[0], message=title, path=gap.path, old=words[0], new=words[1], failures=failures
            )
    yield from found.values()


# JSON-RPC ------------------------------------------------------------------------------------------------------------


def _methods(old: _Contract, new: _Contract) -> Iterator[Finding]:
    before, after = ({(one["type"], one["name"]): one for one in each["methods"]} for each in (old, new))
    for key, method in sorted(after.items()):
        if key in before:
            yield from _method(old, new, before[key], method)
        else:
            yield Finding(rule="METHOD_ADDED", message=method["name"], path="", old="none", new=_kind(method))
    for key, method in sorted(before.items()):
        if key not in after:
            error = "no error: nothing happens" if method.get("notification") else "RemoteRpcError: Method not found"
            failure = Failure(sender=_OLD, receiver=_NEW, error=error)
            words = {"old": _kind(method), "new": "none"}
            yield Finding(rule="METHOD_REMOVED", message=method["name"], path="", failures=(failure,), **words)


def _kind(method: _Contract) -> str:
    return "notification" if method.get("notification") else "method"


def _method(old: _Contract, new: _Contract, before: _Contract, after: _Contract) -> Iterator[Finding]:
    if _kind(before) != _kind(after):
        kinds = (_kind(before), _kind(after))
        yield _both("METHOD_KIND_CHANGED", after["name"], "", kinds, "ReplyTimeout, or no effect")
        return

    def gaps(forward: bool, one: _Contract, other: _Contract, sent: _Contract, read: _Contract) -> Iterator[Gap]:
        records = Records(one, other, "json", forward=forward)
        for name in read.get("validators", ()):
            if name not in sent.get("validators", ()):
                yield Gap("validator", "params", "none", name, "Invalid params (-32602)")
        yield from records.parameters(sent["params"], read["params"], "params", strict=not read.get("lenient"))
        if sent.get("by_position") and not _same_order(sent, read):
            places = [", ".join(_names(each)) if each.get("by_position") else "by name" for each in (sent, read)]
            yield Gap("by position", "params", places[0], places[1], "Invalid params (-32602), or another value")
        if "result" in sent:
            yield from _results(records, sent["result"], read["result"])

    yield from _merged(after["name"], gaps, old, new, before, after)


def _results(records: Records, sent: Any, read: Any) -> Iterator[Gap]:
    if "null" in (sent["type"], read["type"]):
        if sent["type"] != read["type"] and read["type"] not in ("any", "optional"):
            yield Gap("type", "result", shown(sent), shown(read), "MalformedMessage")
        return
    yield from records.types.value(sent, read, "result")


def _names(method: _Contract) -> Sequence[str]:
    return [field.get("key", field["name"]) for field in method["params"]]


def _same_order(sent: _Contract, read: _Contract) -> bool:
    """Return whether parameters in the caller's order are in the server's, which may have more of them."""
    return bool(read.get("by_position")) and _names(read)[: len(_names(sent))] == _names(sent)
