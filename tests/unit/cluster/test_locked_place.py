from __future__ import annotations

import subprocess
import sys

from oddwire.cluster.locked_place import Place, place_of


def test_a_place_is_a_folder_whatever_it_is_called(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    place = place_of(first)

    assert place != place_of(second)
    first.rename(tmp_path / "c")
    assert place_of(tmp_path / "c") == place


def test_without_a_name_of_the_boot_no_place_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr("oddwire.cluster.locked_place.boot_id", lambda: "")
    assert place_of(tmp_path) == ""


HOLDS = """
import sys
from oddwire.cluster.locked_place import Place
place = Place(sys.argv[1])
print(place.take(), place.name, flush=True)
sys.stdin.read()
"""


def test_a_file_is_the_place_of_one_process_at_a_time(tmp_path):
    path = str(tmp_path / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline().startswith("True ")
        place = Place(path)
        assert not place.take()
        assert (place.holder, place.name) == (str(other.pid), "")
        place.release()
        other.kill()
    assert place.take()
    assert place.name == place_of(path)
    place.release()
    place.release()
