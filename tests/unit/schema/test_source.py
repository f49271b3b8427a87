"""Generated source: names, functions within functions, and tracebacks that show it."""

import linecache
import traceback

from oddwire.schema.source import Source, compile_function


def test_functions_written_one_inside_the_other():
    source = Source()
    limit = source.bind(10, "limit")
    with source.function("def outer(value):"):
        source.line("total = 0")
        with source.function("def inner(value):"):
            with source.block(f"if value > {limit}:"):
                source.line(f"return {limit}")
            source.line("return value")
        with source.block("for each in value:"):
            source.line("total += inner(each)")
        source.line("return total")
    outer = source.compile("outer", "sample")
    assert outer([1, 20, 5]) == 16


def test_one_object_has_one_name():
    source = Source()
    first, second = object(), object()
    assert source.bind(first, "first") == source.bind(first, "again")
    assert source.bind(first, "first") != source.bind(second, "first")
    assert source.fresh("v") != source.fresh("v")


def test_a_traceback_shows_the_generated_line():
    divide = compile_function("def divide(value):\n    return 1 / value", "divide", {}, "sample divide")
    try:
        divide(0)
    except ZeroDivisionError as error:
        text = "".join(traceback.format_exception(error))
    linecache.checkcache()
    assert "<oddwire sample divide>" in text
    assert "return 1 / value" in text
    assert linecache.getline("<oddwire sample divide>", 2) == "    return 1 / value"
