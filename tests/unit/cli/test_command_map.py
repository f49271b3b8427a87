import inspect

import pytest

from oddwire.cli.command_map import GROUPS, Entry, commands
from oddwire.cli.lazy_commands import LazyCommands

NAMES = sorted(commands())


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_is_the_first_paragraph_of_the_commands_own_help(name: str) -> None:
    command = LazyCommands(name="oddwire").get_command(None, name)
    first = inspect.cleandoc(command.help).partition("\n\n")[0]
    assert " ".join(first.split()) == commands()[name].summary


def test_each_takes_one_line() -> None:
    for group in GROUPS.values():
        for entry in group.values():
            assert len("  describe  ") + len(entry.summary) <= 80


def test_what_is_not_there_is_no_command() -> None:
    groups = {"One": {"nonesuch": Entry("nonesuch", "Not there.")}, "Two": {"types": Entry("known_types", "There.")}}
    assert commands(groups) == {"types": Entry("oddwire.cli.known_types", "There.")}


def test_no_two_groups_have_one_name() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
