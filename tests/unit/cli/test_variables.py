from types import SimpleNamespace

from oddwire.cli.command_map import commands
from oddwire.cli.lazy_commands import LazyCommands
from oddwire.cli.variables import long_name, source_of, variable, without_options


def test_an_option_has_the_variable_of_its_name() -> None:
    assert variable("listen") == "ODDWIRE_LISTEN"
    assert variable("chat-greeting") == "ODDWIRE_CHAT_GREETING"


def test_every_option_of_every_command_has_one() -> None:
    group = LazyCommands(name="oddwire")
    for name in commands():
        command = group.get_command(None, name)
        for each in getattr(command, "commands", {"": command}).values():
            for parameter in each.get_params(SimpleNamespace(help_option_names=["--help"])):
                option = long_name(parameter)
                if option and option != "help":
                    assert variable(option) in parameter.envvar
                    assert "ODDWIRE_MAX_DOCUMENT" not in parameter.envvar


def test_a_command_may_be_kept_from_all_of_them() -> None:
    environment = {"ODDWIRE_LISTEN": "a", "ODDWIRE_MAX_DOCUMENT": "5", "HOME": "/home/me"}
    assert without_options(environment) == {"ODDWIRE_MAX_DOCUMENT": "5", "HOME": "/home/me"}


def test_what_is_no_value_of_an_option_has_no_source() -> None:
    assert source_of(ValueError("wrong")) == ""
