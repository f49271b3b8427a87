from __future__ import annotations

from oddwire.cluster.locked_place import place_of


def test_a_place_is_a_folder_whatever_it_is_called(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    place = place_of(first)

    assert place != place_of(second)
    first.rename(tmp_path / "c")
    assert place_of(tmp_path / "c") == place
