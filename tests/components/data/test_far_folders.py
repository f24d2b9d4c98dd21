"""Folders in a store: whole or absent, compared by hash, one line where something is wrong."""

import json
import time

import pytest

from components.data import far_files, far_systems
from components.data.at_hand import NODE, at_hand
from components.data.far_files import place_of
from components.data.far_folders import (
    Damaged,
    fetch_folder,
    is_sent,
    remove_sent,
    send_folder,
    set_aside,
)
from components.data.far_objects import NotThere, names_in, read_object, write_object
from components.errors import StorageError
from tests.components.data.object_store import spoilt_store, use_store


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A real S3 server with an empty bucket, behind a proxy that can spoil its answers."""
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "bucket").mkdir()
    with spoilt_store(folder) as proxy:
        yield folder / "bucket", proxy


@pytest.fixture
def server(served, monkeypatch):
    _, proxy = served
    proxy.asked.clear()
    proxy.spoil = lambda method, path, number: ""
    monkeypatch.setattr(far_files, "FIRST_WAIT_S", 0.01)
    use_store(monkeypatch, proxy.port)
    return proxy


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    (made / "clip").mkdir(parents=True)
    (made / "clip/card.json").write_text("{}")
    (made / "clip/model.safetensors").write_bytes(bytes(range(256)) * 40)
    (made / "none.json").write_bytes(b"")
    return made


def content(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_a_folder_comes_back_as_it_was_sent_and_nothing_else_with_it(
    kind, server, folder, tmp_path
):
    address = f"s3://bucket/there-{kind}" if kind == "s3" else f"file://{tmp_path}/there"
    place = place_of(address)
    assert not is_sent(place, "nets") and names_in(place) == []
    send_folder(folder, place, "nets")
    assert is_sent(place, "nets")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/old").write_text("of another time")
    fetch_folder(place, "nets", tmp_path / "here")
    assert content(tmp_path / "here") == content(folder)
    with pytest.raises(NotThere, match="no such file"):
        fetch_folder(place, "others", tmp_path / "here")
    send_folder(folder / "clip", place, "one")
    remove_sent(place, "nets")  # what another folder needs too stays
    fetch_folder(place, "one", tmp_path / "one")
    assert content(tmp_path / "one") == content(folder / "clip")
    assert len(names_in(place)) == 1 + len(content(folder / "clip"))
    remove_sent(place, "one")
    assert not is_sent(place, "one")


def test_what_is_here_is_compared_and_only_the_rest_is_fetched(
    server, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(NODE, str(tmp_path / "node"))
    send_folder(folder, place_of("s3://bucket/inputs"), "nets-01")
    here = at_hand("s3://bucket/inputs/nets-01")
    assert here == tmp_path / "node/inputs/nets-01" and content(here) == content(folder)
    server.asked.clear()
    (here / "clip/card.json").write_text("[]")  # as many bytes
    assert content(at_hand("s3://bucket/inputs/nets-01")) == content(folder)
    fetched = [path for method, path, _ in server.asked if method == "GET" and ".json" not in path]
    assert len(fetched) == 1
    assert at_hand(str(folder)) == folder


@pytest.mark.row("B16")
def test_answers_that_fail_are_asked_again_and_a_lie_is_noticed(server, folder, tmp_path):
    place = place_of("s3://bucket/spoilt")
    server.spoil = lambda method, path, number: "" if number else "fail"
    send_folder(folder, place, "nets")
    server.spoil = lambda method, path, number: "lie" if method == "GET" and not number else ""
    fetch_folder_again(place, tmp_path / "here", folder)
    server.spoil = lambda method, path, number: "lie" if "json" not in path else ""
    with pytest.raises(Damaged, match="has another hash"):
        fetch_folder(place, "nets", tmp_path / "lied")


def fetch_folder_again(place, here, folder):
    """Fetch a folder whose list is a lie at first: that one is not readable."""
    with pytest.raises(Damaged, match="list is not readable"):
        fetch_folder(place, "nets", here)
    fetch_folder(place, "nets", here)
    assert content(here) == content(folder)


@pytest.mark.row("B16")
def test_late_answers_are_waited_for_and_a_silent_server_is_one_line(
    server, folder, tmp_path, monkeypatch
):
    place = place_of("s3://bucket/late")
    server.spoil = lambda method, path, number: "slow" if method in ("PUT", "GET") else ""
    send_folder(folder, place, "nets")
    fetch_folder(place, "nets", tmp_path / "here")
    assert content(tmp_path / "here") == content(folder)
    monkeypatch.setattr(far_systems, "ANSWER_S", 1.0)
    monkeypatch.setattr(far_files, "TRIES", 2)
    far_systems._s3_at.cache_clear()
    server.spoil = lambda method, path, number: "stall" if method == "PUT" else ""
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"not taken: .*2 tries") as raised:
        send_folder(folder, place, "others", anew=True)
    assert time.monotonic() - began < 12 and "\n" not in str(raised.value)
    assert not is_sent(place, "others")
    far_systems._s3_at.cache_clear()


def test_what_was_cut_off_while_sending_is_not_there(server, folder, tmp_path):
    place = place_of("s3://bucket/cut")
    write_object(place / "other.json", b"{}")
    ends = ("PUT", "/bucket/cut/nets.json")
    server.spoil = lambda method, path, number: "refuse" if (method, path) == ends else ""
    with pytest.raises(StorageError, match=r"not taken: .*5 tries"):
        send_folder(folder, place, "nets")
    server.spoil = lambda method, path, number: ""
    assert not is_sent(place, "nets") and len(names_in(place)) == 4
    server.asked.clear()
    send_folder(folder, place, "nets")  # the files are there: only the list is sent
    assert [one[:2] for one in server.asked if one[0] in ("PUT", "POST")] == [ends]


def test_a_file_that_is_gone_or_changed_is_damage(served, server, folder, tmp_path):
    bucket, _ = served
    place = place_of("s3://bucket/hurt")
    send_folder(folder, place, "nets")
    listed = json.loads(read_object(place / "nets.json"))["files"]
    changed = bucket / "hurt" / listed["clip/model.safetensors"]["sha256"]
    changed.write_bytes(changed.read_bytes()[:-1] + b"X")
    with pytest.raises(Damaged, match=r"model.safetensors has another hash"):
        fetch_folder(place, "nets", tmp_path / "here")
    changed.unlink()
    with pytest.raises(Damaged, match=r"model.safetensors is gone"):
        fetch_folder(place, "nets", tmp_path / "here")
    set_aside(place, "nets")
    assert not is_sent(place, "nets") and "nets.json.damaged" in names_in(place)
    outside = {"files": {"../x": {"bytes": 1, "sha256": "0" * 64}}}
    write_object(place / "nets.json", json.dumps(outside).encode())
    with pytest.raises(Damaged, match="outside"):
        fetch_folder(place, "nets", tmp_path / "here")


def test_keys_buckets_and_endpoints_that_are_wrong_are_one_line_each(
    served, server, folder, monkeypatch
):
    with pytest.raises(StorageError, match=r"not taken: .*NO_SUCH_BUCKET.*check the address"):
        send_folder(folder, place_of("s3://nowhere/x"), "nets")
    asked = len(server.asked)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    far_systems._s3_at.cache_clear()
    with pytest.raises(StorageError, match=r"ACCESS_DENIED|SIGNATURE") as raised:
        is_sent(place_of("s3://bucket/x"), "nets")
    assert "\n" not in str(raised.value) and len(server.asked) == asked + 1  # not five times
    far_systems._s3_at.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"5 tries.*check the address, and the keys"):
        is_sent(place_of("s3://bucket/x"), "nets")


def test_a_disk_that_may_not_be_written_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="not taken") as raised:
        send_folder(folder, place_of(f"file://{tmp_path}/file"), "nets")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("abfss://container@account.dfs.core.windows.net/x", "credential|token|hierarchical"),
        ("abfs://container/x", "account name"),
        ("hdfs://host:9000/x", "libjvm|libhdfs|hadoop|connect"),
        ("gs://bucket/x", "access token|credentials|authenticate"),
    ],
)
def test_other_stores_without_keys_are_one_line(address, said, monkeypatch):
    """No server of theirs is at hand: what is tested is that the address is read, and the error."""
    monkeypatch.setattr(far_files, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(far_systems, "TRIED_S", 1)
    for name in ("AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match=f"(?i){said}") as raised:
        write_object(place_of(address), b"x")
    assert "\n" not in str(raised.value) and "check the address" in str(raised.value)
