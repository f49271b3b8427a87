from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.node.plugins.plugin_options import OptionSpec, OptionTable, is_deprecated, parse_option


def option(**fields: object) -> OptionSpec:
    return parse_option("options[0]", {"name": "opt", "type": "string", "description": "an option", **fields})


@pytest.mark.parametrize(
    ("fields", "default"),
    [
        ({}, None),
        ({"default": None}, None),
        ({"default": "text"}, "text"),
        ({"default": 5}, "5"),
        ({"default": True}, "true"),
        ({"type": "string-conceal", "default": "secret"}, "secret"),
        ({"type": "int", "default": 5}, 5),
        ({"type": "int", "default": "0x10"}, 16),
        ({"type": "int", "default": "-010"}, -8),
        ({"type": "bool", "default": True}, True),
        ({"type": "bool", "default": "No"}, False),
        ({"type": "flag"}, None),
        ({"type": "flag", "default": False}, None),
    ],
)
def test_defaults_have_the_type_of_their_option(fields: dict[str, object], default: object) -> None:
    value = option(**fields).default
    assert value == default
    assert type(value) is type(default)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "Opt"}, r'options\[0\].name should be of lower-case letters, digits, _ and -, not "Opt"'),
        ({"name": ""}, "name should be"),
        ({"name": 1}, "name should be"),
        ({"type": "float"}, 'option opt: type should be one of string, string-conceal, int, bool, flag, not "float"'),
        ({"multi": 1}, "option opt: multi should be true or false, not 1"),
        ({"dynamic": "no"}, "option opt: dynamic should be true or false"),
        ({"type": "flag", "multi": True}, "option opt: an option of type flag cannot be multi"),
        ({"type": "bool", "multi": True}, "option opt: an option of type bool cannot be multi"),
        ({"type": "flag", "default": True}, "option opt: a flag's default can only be false, not true"),
        ({"type": "flag", "default": None}, "a flag's default can only be false"),
        ({"type": "int", "default": "five"}, 'option opt: default "five" should be an integer'),
        ({"type": "int", "default": 1 << 63}, "should fit into 64 bits"),
        ({"type": "bool", "default": 1}, 'default "1" should be true or false'),
        ({"deprecated": 1}, "option opt.deprecated should be true, false, or one or two versions"),
        ({"deprecated": ["a", "b", "c"]}, "option opt.deprecated"),
    ],
)
def test_what_an_option_cannot_be(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        option(**fields)


@pytest.mark.parametrize("missing", ["name", "type", "description"])
def test_what_an_option_needs(missing: str) -> None:
    fields = {"name": "opt", "type": "string", "description": "an option"}
    del fields[missing]
    with pytest.raises(ExtensionError, match=f'options\\[0\\] has no "{missing}"'):
        parse_option("options[0]", fields)


@pytest.mark.parametrize(("value", "deprecated"), [(None, False), (False, False), (True, True), (["v26.06"], True)])
def test_deprecated_is_a_bool_or_versions(value: object, deprecated: bool) -> None:
    assert is_deprecated("x", value) is deprecated
    assert option(deprecated=value).deprecated is deprecated


@given(st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1))
def test_integers_are_read_in_every_base(number: int) -> None:
    sign, size = ("-" if number < 0 else ""), abs(number)
    for text in (str(number), f"{sign}{size:#x}", f"{sign}0{size:o}"):
        assert OptionSpec(name="opt", type="int").parse(text) == number


@pytest.mark.parametrize("text", ["", " ", "1 ", "0x", "08", "1.0", "1e3", "--1", "٣"])
def test_what_no_integer_looks_like(text: str) -> None:
    with pytest.raises(ExtensionError):
        OptionSpec(name="opt", type="int").parse(text)


def make_table() -> OptionTable:
    table = OptionTable(["network"])
    specs = [
        option(name="word", default="hi"),
        option(name="bare"),
        option(name="count", type="int", default=3, dynamic=True),
        option(name="really", type="bool", default=False),
        option(name="flag", type="flag", dynamic=True),
        option(name="many", multi=True),
        option(name="numbers", type="int", multi=True, default=1),
        option(name="secret", type="string-conceal", default="xyz"),
        option(name="old", default="x", deprecated=True),
    ]
    table.add("/p/one", specs)
    return table


DEFAULTS = {"word": "hi", "count": 3, "really": False, "numbers": [1], "secret": "xyz", "old": "x"}


def test_init_is_told_values_and_defaults() -> None:
    table = make_table()
    assert table.values_for("/p/one") == DEFAULTS
    assert table.values_for("/p/other") == {}
    table.set_from_command_line(
        [
            ("word", "a"),
            ("word", "b"),
            ("many", "x"),
            ("numbers", "2"),
            ("many", "y"),
            ("flag", None),
            ("really", "yes"),
        ]
    )
    assert table.values_for("/p/one") == {
        **DEFAULTS,
        "word": "b",
        "many": ["x", "y"],
        "numbers": [2],
        "flag": True,
        "really": True,
    }


@pytest.mark.parametrize(
    ("given_options", "text"),
    [
        ([("nope", "1")], "unrecognized option --nope: no plugin that runs has it$"),
        ([("coutn", "1")], "unrecognized option --coutn: no plugin that runs has it; did you mean --count[?]"),
        ([("count", "many")], '--count: "many" should be an integer'),
        ([("count", None)], "--count: requires an argument of type int"),
        ([("flag", "true")], "--flag=true: doesn't allow an argument"),
        ([("flag", "")], "--flag=: doesn't allow an argument"),
        ([("really", "maybe")], '--really: "maybe" should be true or false'),
    ],
)
def test_a_wrong_command_line(given_options: list[tuple[str, str | None]], text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        make_table().set_from_command_line(given_options)


def test_plugin_start_sets_only_options_of_that_plugin() -> None:
    table = make_table()
    table.add("/p/two", [option(name="two")])
    table.set_from_start("/p/one", {"word": "w", "count": 9, "many": ["x", 1], "flag": True, "really": "true"})
    assert table.values_for("/p/one") == {
        **DEFAULTS,
        "word": "w",
        "count": 9,
        "many": ["x", "1"],
        "flag": True,
        "really": True,
    }
    with pytest.raises(ExtensionError, match="unknown parameter two: it is no option of this plugin"):
        table.set_from_start("/p/one", {"two": "x"})
    with pytest.raises(ExtensionError, match="unknown parameter --two: it is no option of this plugin"):
        table.set_from_start("/p/one", {"--two": "x"})
    with pytest.raises(ExtensionError, match=r"unknown parameter --count: .* have no dashes: write count=value"):
        table.set_from_start("/p/one", {"--count": "9"})
    with pytest.raises(ExtensionError, match='parameter count: "x" should be an integer'):
        table.set_from_start("/p/one", {"count": "x"})


def test_what_the_command_line_and_setconfig_say_outlives_the_plugin() -> None:
    """As lightningd's configvars do; what `plugin start` says goes with the plugin."""
    table = make_table()
    specs = [spec for _, spec in table.specs]

    def restart(owner: str = "/p/one", **options: object) -> dict[str, object]:
        for known in {known for known, _ in table.specs}:
            table.remove(known)
        assert table.listconfigs() == {}
        table.add(owner, specs)
        table.set_from_start(owner, options)
        return {name: value for name, value in table.values_for(owner).items() if value != DEFAULTS.get(name)}

    table.set_from_command_line([("word", "line"), ("many", "x"), ("many", "y"), ("flag", None), ("count", "7")])
    line = {"word": "line", "many": ["x", "y"], "flag": True, "count": 7}
    assert restart() == line
    assert table.listconfigs("word")["word"]["source"] == "cmdline"
    started = {"word": "start", "many": ["z"], "flag": False}
    assert restart(**started) == {"word": "start", "many": ["x", "y", "z"], "count": 7}
    assert table.listconfigs("many")["many"]["sources"] == ["cmdline", "cmdline", "pluginstart"]
    assert restart() == line
    table.set_transient("count", "8")
    table.set_transient("count", "9")
    assert restart() == {**line, "count": 9}
    assert table.listconfigs("count")["count"]["source"] == "setconfig transient"
    assert restart(count=10) == {**line, "count": 10}
    assert restart("/elsewhere/two") == {**line, "count": 9}, "values are the option's, not the plugin's"


def test_a_value_of_the_command_line_that_does_not_fit_a_plugin_started_later_is_named() -> None:
    table = make_table()
    table.set_from_command_line([("word", "line")])
    table.remove("/p/one")
    with pytest.raises(ExtensionError, match='option word, as it was given: "line" should be an integer'):
        table.add("/p/two", [option(name="word", type="int")])
    assert "word" not in table


def test_what_setconfig_says_of_an_option_with_several_values_is_all_of_them() -> None:
    table = OptionTable()
    table.add("/p/one", [option(name="many", multi=True, dynamic=True)])
    table.set_from_command_line([("many", "x"), ("many", "y")])
    table.set_transient("many", "z")
    assert table.values_for("/p/one") == {"many": ["z"]}


def test_a_flag_set_to_false_is_not_set() -> None:
    table = make_table()
    table.set_from_start("/p/one", {"flag": False})
    assert "flag" not in table.values_for("/p/one")


def test_names_are_taken_once() -> None:
    table = make_table()
    with pytest.raises(ExtensionError, match="option word is already registered by plugin /p/one"):
        table.add("/p/two", [option(name="fresh"), option(name="word")])
    assert "fresh" not in table
    with pytest.raises(ExtensionError, match="option network: the node itself has an option of this name"):
        table.add("/p/two", [option(name="network")])
    with pytest.raises(ExtensionError, match="option twice is declared twice"):
        table.add("/p/two", [option(name="twice"), option(name="twice")])
    table.remove("/p/one")
    table.add("/p/two", [option(name="word")])
    assert [(owner, spec.name) for owner, spec in table.specs] == [("/p/two", "word")]


def test_listconfigs() -> None:
    table = make_table()
    table.set_from_command_line([("many", "x"), ("flag", None)])
    plugin = {"plugin": "/p/one"}
    assert table.listconfigs() == {
        "word": {"value_str": "hi", "source": "default", **plugin},
        "count": {"value_int": 3, "source": "default", **plugin, "dynamic": True},
        "really": {"value_bool": False, "source": "default", **plugin},
        "flag": {"set": True, "source": "cmdline", **plugin, "dynamic": True},
        "many": {"values_str": ["x"], "sources": ["cmdline"], **plugin},
        "numbers": {"values_int": [], "sources": [], **plugin},
        "secret": {"value_str": "...", "source": "default", **plugin},
    }
    assert table.listconfigs("old") == {"old": {"value_str": "x", "source": "default", **plugin}}
    assert table.listconfigs("bare") == {}
    table.set_from_command_line([("old", "y"), ("secret", "s")])
    assert table.listconfigs()["old"] == {"value_str": "y", "source": "cmdline", **plugin}
    assert table.listconfigs("secret")["secret"]["value_str"] == "..."


def test_dynamic_options() -> None:
    table = make_table()
    assert table.dynamic("count", "5") == "/p/one"
    assert table.values_for("/p/one")["count"] == 3
    table.set_transient("count", "5")
    assert table.values_for("/p/one")["count"] == 5
    assert table.listconfigs("count")["count"]["source"] == "setconfig transient"
    assert table.dynamic("flag", None) == "/p/one"
    assert [table.is_dynamic(name) for name in ("count", "word", "nope")] == [True, False, None]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("nope", "1", "Unknown config option"),
        ("word", "1", "Not a dynamic config option"),
        ("count", "x", '"x" should be an integer'),
        ("count", None, "requires a value of type int"),
    ],
)
def test_what_setconfig_cannot_do(name: str, value: str | None, text: str) -> None:
    with pytest.raises(NodeRefused, match=text) as caught:
        make_table().dynamic(name, value)
    assert caught.value.code == -32602
