import os
import stat
import threading
from pathlib import Path

import pytest

from oddwire import PrivateKey
from oddwire.cli.exit import CommandFailure
from oddwire.cli.keyfile import KEY_FILE, ephemeral_key, load_key, sole_use


def test_makes_a_key_that_only_its_owner_may_read(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "node"
    key = load_key(data_dir)
    assert isinstance(key, PrivateKey)
    assert stat.S_IMODE((data_dir / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert [path.name for path in data_dir.iterdir()] == [KEY_FILE]


def test_gives_the_same_key_ever_after(tmp_path: Path) -> None:
    assert load_key(tmp_path) == load_key(tmp_path)


def test_a_umask_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_key(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_of_several_that_make_it_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    keys: list[PrivateKey] = []
    together = threading.Barrier(8)

    def load() -> None:
        together.wait()
        keys.append(load_key(tmp_path))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666, 0o601])
def test_a_key_others_may_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    load_key(tmp_path)
    path = tmp_path / KEY_FILE
    path.chmod(mode)
    with pytest.raises(CommandFailure, match=rf"has mode {mode:04o}.*chmod 600 {path}"):
        load_key(tmp_path)
    path.chmod(0o600)
    load_key(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not 0 bytes"),
        (b"ab" * 31, "not 62 bytes"),
        (b"ab" * 33, "not 66 bytes"),
        (b"x" * 5000, "not 1024 bytes"),
        (b"zz" * 32, "holds something else"),
        (b"\xff" * 64, "holds something else"),
        (b"00" * 32, "from 1 to the order"),
        (b"ff" * 32, "from 1 to the order"),
    ],
)
def test_a_damaged_key_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CommandFailure, match=f"{KEY_FILE}.*{reason}.*restore it from a backup, or move it away"):
        load_key(tmp_path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir(mode=0o700)
    with pytest.raises(CommandFailure, match=r"regular file|directory"):
        load_key(tmp_path)


def test_a_pipe_in_its_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / KEY_FILE, 0o600)
    with pytest.raises(CommandFailure, match="should be a regular file"):
        load_key(tmp_path)


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(CommandFailure, match=r"is a symbolic link to .*/nowhere, and there is nothing; remove it"):
        load_key(tmp_path)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailure, match=r"data directory .*/file should be a folder; it is a file"):
        load_key(tmp_path / "file")


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailure, match=r"data directory .*file/node"):
        load_key(tmp_path / "file" / "node")


def test_ephemeral_keys_differ() -> None:
    assert ephemeral_key() != ephemeral_key()


def test_one_has_a_key_in_use_at_a_time(tmp_path: Path) -> None:
    load_key(tmp_path)
    with sole_use(tmp_path):
        refused = pytest.raises(
            CommandFailure, match=r"is in use by another node; stop that, or choose another --data-dir$"
        )
        with refused, sole_use(tmp_path):
            pass
        load_key(tmp_path)  # to send a message in its name
    with sole_use(tmp_path):
        pass


def test_without_a_key_the_folder_is_in_use_all_the_same(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "lnd"
    with sole_use(data_dir, has_key=False):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert [*data_dir.iterdir()] == []
        with pytest.raises(CommandFailure, match="is in use by another node"), sole_use(data_dir, has_key=False):
            pass
        load_key(data_dir)
        with pytest.raises(CommandFailure, match="is in use by another node"), sole_use(data_dir):
            pass
    (tmp_path / "file").write_text("")
    refused = pytest.raises(CommandFailure, match="should be a folder; it is a file")
    with refused, sole_use(tmp_path / "file", has_key=False):
        pass
