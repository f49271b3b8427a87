"""The annotations of a class that is being made, evaluated: strings too, and the class's own name in them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from oddwire.errors import SchemaError
from oddwire.schema.annotations import evaluate
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Kind

__all__ = ["Itself", "annotations_of", "evaluated"]


class Itself:
    """What stands for a class in its own annotations, as these are evaluated before there is the class.

    ``record`` is the class's own, to be completed with the class; None as long as no annotation has its name in it.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.name: str = namespace["__qualname__"].rpartition(".")[2]
        self.record: Record | None = None
        self._module = namespace["__module__"]
        self._found: dict[str, Any] = {}

    def names(self, annotation: Any) -> Mapping[str, Any]:
        """Return the class by its name, if ``annotation`` has that in it."""
        extras = getattr(annotation, "__metadata__", ())
        if isinstance(annotation, type) or (extras and isinstance(extras[0], Kind)) or self.name not in str(annotation):
            return {}
        if not self._found:
            record = Record.__new__(Record)
            stand_in = type(self.name, (), {"__oddwire__": record, "__oddwire_itself__": record})
            vars(record).update(cls=stand_in, name=self.name, module=self._module, fields=())
            self._found[self.name], self.record = stand_in, record
        return self._found


def annotations_of(namespace: dict[str, Any]) -> Mapping[str, Any]:
    """Return the annotations in a class's namespace."""
    if sys.version_info >= (3, 14):  # PEP 649: a class body no longer has its annotations, but a function that does
        import annotationlib

        if annotate := annotationlib.get_annotate_from_class_namespace(namespace):
            return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    return cast("Mapping[str, Any]", namespace.get("__annotations__", {}))


def evaluated(annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any], itself: Itself) -> Any:
    """Return the type that an annotation in a class's namespace means. Raises `SchemaError`."""
    module = sys.modules.get(namespace["__module__"])
    annotated = annotations_of(namespace)  # a field's name is not a name in annotations
    visible = {name: value for name, value in namespace.items() if name not in annotated}
    names = {**local_names, **itself.names(annotation), **visible}
    try:
        return evaluate(annotation, vars(module) if module else {}, names)
    except NameError as error:
        text = f"{annotation!r} names {error.name!r}, which is not known here when the class is made"
        remedy = "define or import it before, at module level, not under TYPE_CHECKING"
        both = "of two classes in one another, one has the other as bytes, as encode_subtype or a codec writes it"
        raise SchemaError(f"{text}: {remedy}; {both}") from None
    except Exception as error:  # an author's annotation may raise any error
        raise SchemaError(f"the annotation {annotation!r} cannot be evaluated: {error}") from error
