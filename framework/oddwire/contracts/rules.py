"""The rules of `compare`: what can change in a protocol, whether old peers break by it, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from oddwire.records import FrozenRecord

__all__ = ["RULES", "Failure", "Finding", "Rule"]


class Rule(FrozenRecord):
    """One rule. ``breaks``: always, never, or sometimes, as its text says."""

    id: str
    breaks: Literal["always", "never", "sometimes"]
    text: str
    remedy: str = ""


class Failure(FrozenRecord, kw_only=True):
    """One direction in which a change breaks: who sends, who fails, and how."""

    sender: Literal["old", "new"]
    receiver: Literal["old", "new"]
    error: str
    """The error's class and words, or what goes wrong in silence."""


class Finding(FrozenRecord, kw_only=True):
    """One change. Without ``failures`` it breaks nobody."""

    rule: str
    message: str
    """The message's name and number, a method's name, or the extension's."""
    path: str
    """Where in it: ``$.orders[].price``; empty for the whole."""
    old: str
    new: str
    failures: tuple[Failure, ...] = ()

    @property
    def breaks(self) -> bool:
        """Whether old and new peers do not understand each other."""
        return bool(self.failures)

    @property
    def remedy(self) -> str:
        """What to do instead; empty if there is nothing to do."""
        return RULES[self.rule].remedy if self.breaks else ""

    def to_plain(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        failures = [{"sender": one.sender, "receiver": one.receiver, "error": one.error} for one in self.failures]
        return {
            "rule": self.rule,
            "breaks": self.breaks,
            "message": self.message,
            "path": self.path,
            "old": self.old,
            "new": self.new,
            "failures": failures,
            "remedy": self.remedy,
        }


_OPTIONAL: Final = "add it as an optional field, `X | None = None`, or with a default"
_OTHER: Final = "keep the field as it is, and add another one beside it"
_MESSAGE: Final = "keep the message, and add another one with a type number of its own"
_LATER: Final = "send such values only to peers whose hello lists the new version, and then ignore the rule"

_ALL: Final = (
    # The extension
    Rule("FEATURE_ADDED", "never", "The extension has a feature bit, and had none."),
    Rule(
        "FEATURE_CHANGED",
        "always",
        "`feature` or `peer_feature` is another bit, or none: peers that look for the old one see no support, and "
        "are sent no message of even type.",
        "keep the bit",
    ),
    Rule("VERSION_CHANGED", "never", "`version` or `versions` is another, and both sides have one in common."),
    Rule(
        "VERSIONS_DISJOINT",
        "always",
        "Old and new have no version in common, so `supports` is false between them.",
        'list what is still spoken: `Extension(..., version="1.1", versions=("1.0", "1.1"))`',
    ),
    # Messages
    Rule("MESSAGE_ADDED", "never", "A message is new: old peers ignore one of odd type."),
    Rule(
        "MESSAGE_ADDED_EVEN",
        "never",
        "A message of even type is new: old peers that get it disconnect, so it is sent to those alone that show that "
        "they know it.",
    ),
    Rule(
        "MESSAGE_REMOVED",
        "always",
        "A message is gone: what old peers send is ignored, requests are not answered, and one of even type ends the "
        "connection.",
        "keep the message, and its handler, as long as old peers are about",
    ),
    Rule("MESSAGE_RENAMED", "never", "Another name under the same number. It is not on the wire."),
    Rule("TYPE_RENUMBERED", "always", "The message has another type number; or two have each other's.", _MESSAGE),
    Rule(
        "EVEN_ODD_CHANGED",
        "always",
        "The number was odd and is even, or the other way round: what one side may ignore, the other hangs up on.",
        _MESSAGE,
    ),
    Rule("CODEC_CHANGED", "always", "Another codec, or another envelope or magic.", _MESSAGE),
    Rule(
        "MAX_SIZE_LOWERED",
        "sometimes",
        "`max_size` is smaller: unless no message was that large.",
        "keep the limit, and refuse what is too large in the handler",
    ),
    Rule("MAX_SIZE_RAISED", "sometimes", "`max_size` is larger: unless no message can be that large.", _LATER),
    Rule(
        "EVEN_KNOWN_CHANGED",
        "always",
        '`even="known"` was given, or taken away: whom the message is sent to without a hello.',
        "keep it",
    ),
    Rule("REPLY_ADDED", "always", "A request has another reply, which old peers do not wait for.", _LATER),
    Rule("REPLY_REMOVED", "always", "A reply of a request is gone: what old peers answer is none.", "keep the reply"),
    Rule(
        "MATCH_CHANGED",
        "always",
        "Requests and replies belong together by another field.",
        "keep `match`, and the field in the request and all of its replies",
    ),
    Rule(
        "RELIABLE_CHANGED",
        "always",
        "The handler takes the message reliably, or no longer: what is delivered, or sent, is refused.",
        _MESSAGE,
    ),
    Rule("STREAM_CHANGED", "always", "The request is answered by a stream, or no longer.", _MESSAGE),
    # Fields
    Rule("FIELD_ADDED", "never", "A field is new that may be left out: old peers ignore it."),
    Rule("FIELD_ADDED_REQUIRED", "always", "A field is new that must be there: old peers do not send it.", _OPTIONAL),
    Rule(
        "FIELD_ADDED_POSITIONAL",
        "always",
        "`bolt`: a field is new among those without a name on the wire.",
        "add it as a TLV record of odd number: `field(tlv=1, default=None)`",
    ),
    Rule(
        "FIELD_ADDED_EVEN",
        "always",
        "`bolt`: a TLV record of even number is new: old peers refuse it.",
        "give it an odd number",
    ),
    Rule("FIELD_REMOVED", "never", "A field is gone that old peers can do without."),
    Rule(
        "FIELD_REMOVED_REQUIRED",
        "always",
        "A field is gone that old peers require.",
        "keep the field",
    ),
    Rule("FIELD_REMOVED_POSITIONAL", "always", "`bolt`: a field without a name on the wire is gone.", "keep the field"),
    Rule(
        "FIELD_REMOVED_EVEN",
        "always",
        "`bolt`: a TLV record of even number is gone: old peers' messages are refused.",
        "keep the field, and ignore its value",
    ),
    Rule("FIELD_RENAMED", "never", "Another Python name, the same key, TLV number or place."),
    Rule(
        "FIELD_KEY_CHANGED",
        "always",
        "`msgpack`, `json`: the field of this name has another key; or two fields have each other's.",
        'keep the key: `field(key="old_name")`',
    ),
    Rule(
        "FIELD_REORDERED",
        "always",
        "`bolt`: fields stand in another order.",
        "keep the order; add fields as TLV records",
    ),
    Rule("FIELD_MOVED", "always", "`bolt`: a field has become a TLV record, or a TLV record a field.", _OTHER),
    Rule(
        "FIELD_MADE_REQUIRED", "always", "None, or nothing, was allowed, and is not.", "keep `| None`, or the default"
    ),
    Rule("FIELD_MADE_OPTIONAL", "always", "None, or nothing, was not allowed, and is.", _LATER),
    Rule(
        "DEFAULT_CHANGED",
        "sometimes",
        "Another default. It is what a field is taken for that is not there, so it breaks where one side leaves the "
        "field out: where None is the default, and in `bolt` of what is absent.",
        "keep the default",
    ),
    Rule("FIELD_TYPE_CHANGED", "always", "Another type on the wire, or one that reads as another value.", _OTHER),
    Rule("FIELD_RESIZED", "always", "`bolt`: an integer or value of another size or form.", _OTHER),
    Rule("COUNT_CHANGED", "always", "`bolt`: how many bytes or elements there are is said in another way.", _OTHER),
    Rule("FIELD_NARROWED", "always", "The type holds fewer values.", _OTHER),
    Rule("FIELD_WIDENED", "always", "The type holds more values.", _LATER),
    Rule(
        "LIMIT_TIGHTENED",
        "always",
        "A limit, `le`, `length`, `max_length`, `fixed`, allows fewer values.",
        "keep the limit",
    ),
    Rule("LIMIT_LOOSENED", "always", "A limit allows more values.", _LATER),
    Rule("PATTERN_CHANGED", "always", "`pattern` was given, is another, or is gone.", "keep the pattern"),
    Rule(
        "SCALAR_CHANGED", "always", "A `scalar` of another name: what it accepts is for its functions to say.", _OTHER
    ),
    Rule(
        "VALIDATOR_ADDED", "always", "There is a `@validates` of a name that was not there.", "check it in the handler"
    ),
    Rule("VALIDATOR_REMOVED", "always", "A `@validates` is gone.", _LATER),
    Rule("ENUM_VALUE_ADDED", "always", "An enum or `Literal` has another value.", _LATER),
    Rule("ENUM_VALUE_REMOVED", "always", "A value of an enum or `Literal` is gone.", "keep the value"),
    Rule(
        "ENUM_VALUE_CHANGED",
        "always",
        "A member of an enum has another value, which is or was another member's, as `auto()` makes of a new order.",
        "keep the value, and give new members those that were never used",
    ),
    Rule(
        "TLV_RENUMBERED",
        "always",
        "`bolt`: the field of this name is a TLV record of another number; or two fields have each other's.",
        "keep the number",
    ),
    Rule(
        "TLV_NUMBER_REUSED",
        "always",
        "`bolt`: the number of a TLV record is that of another field, of another type.",
        "take a number that was never used",
    ),
    Rule(
        "TLV_STREAM_ADDED",
        "always",
        "`bolt`: a subtype has its first TLV records, where nothing may follow it.",
        "put them into the message, whose end may hold unknown ones",
    ),
    Rule(
        "TLV_STREAM_REMOVED",
        "always",
        "`bolt`: a subtype has no TLV records any more, where nothing may follow it.",
        "keep one",
    ),
    Rule(
        "UNION_MEMBER_ADDED", "sometimes", "A union has another member; not if `UnknownVariant` is one of it.", _LATER
    ),
    Rule(
        "UNION_MEMBER_REMOVED",
        "sometimes",
        "A member of a union is gone; not if `UnknownVariant` is one of it.",
        "keep the member",
    ),
    Rule("UNION_TAG_CHANGED", "always", "A member of a union has another tag.", "keep the tag"),
    Rule("UNION_FORM_CHANGED", "always", "The tag of a union is written in another way, or under another key.", _OTHER),
    Rule("UNION_CLOSED", "always", "`UnknownVariant` is a member of a union no more.", "keep it"),
    Rule("UNION_OPENED", "never", "`UnknownVariant` is a member of a union: what is added to it later breaks nobody."),
    # JSON-RPC
    Rule("METHOD_ADDED", "never", "A JSON-RPC method is new."),
    Rule("METHOD_REMOVED", "always", "A JSON-RPC method is gone, or carried by another type.", "keep the method"),
    Rule(
        "METHOD_KIND_CHANGED",
        "always",
        "A method has become a notification, or the other way round.",
        "add another method",
    ),
    Rule(
        "PARAMETER_ADDED",
        "always",
        "A parameter is new: old servers refuse one that they do not know.",
        "pass it only to servers that know it, and then ignore the rule",
    ),
    Rule("PARAMETER_REMOVED", "always", "A parameter is gone: it is refused when old clients pass it.", "keep it"),
    Rule(
        "BY_POSITION_CHANGED",
        "always",
        "Parameters may be passed in order no more, or only now, or in another order.",
        "keep `by_position`, and the order",
    ),
    # All else
    Rule("OTHER_CHANGED", "never", "Something that is not on the wire: the name of a type, a list that was a tuple."),
    Rule(
        "UNKNOWN_CODEC",
        "always",
        "Something has changed in a message of a codec that is not oddwire's, about which there are no rules.",
        "ignore the rule, once you know that your codec can do it",
    ),
)

RULES: Final[Mapping[str, Rule]] = {rule.id: rule for rule in _ALL}
"""All rules by their id, in the order of the documentation."""
