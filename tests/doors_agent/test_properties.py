"""agent.properties by Java's rules, changed without touching what is not ours."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.doors.agent.properties import (
    Properties,
    PropertiesFile,
    PropertiesUnreadable,
)

FILE = """\
# CloudStack's KVM agent
#Storage
host=10.1.1.3,10.1.1.4@roundrobin
  zone = 1
pod:2
cluster 3
local.storage.path=E\\:\\\\Disks\\\\Disks
!another comment
private.mac.address=10\\:1F\\:74
empty=
long = one, \\
       two, \\
       three
unicode=\\u65e5\\u672c

HypervResource.id=5
zone=7
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", "10.1.1.3,10.1.1.4@roundrobin"),
        ("zone", "7"),
        ("pod", "2"),
        ("cluster", "3"),
        ("local.storage.path", "E:\\Disks\\Disks"),
        ("private.mac.address", "10:1F:74"),
        ("empty", None),
        ("absent", None),
        ("long", "one, two, three"),
        ("unicode", "日本"),
        ("HypervResource.id", "5"),
    ],
)
def test_reading(key: str, value: str | None) -> None:
    assert Properties.parse(FILE).get(key) == value


def test_nothing_changes_by_reading() -> None:
    assert str(Properties.parse(FILE)) == FILE


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("pod", "9", "pod:2\n", "pod=9\n"),
        ("long", "x", "long = one, \\\n       two, \\\n       three\n", "long=x\n"),
        ("HypervResource.id", "6", "HypervResource.id=5\n", "HypervResource.id=6\n"),
        ("host", "a b=c:d", "host=10.1.1.3,10.1.1.4@roundrobin\n", "host=a b\\=c\\:d\n"),
    ],
)
def test_a_change_replaces_the_lines_of_one_key(
    key: str, value: str, before: str, after: str
) -> None:
    properties = Properties.parse(FILE)
    assert properties.set(key, value)
    assert str(properties) == FILE.replace(before, after)
    assert properties.get(key) == value


def test_of_a_key_that_stands_twice_one_is_left() -> None:
    properties = Properties.parse(FILE)
    properties.set("zone", "8")
    assert str(properties) == FILE.replace("  zone = 1\n", "").replace("zone=7\n", "zone=8\n")


def test_a_new_key_stands_at_the_end() -> None:
    properties = Properties.parse(FILE)
    assert properties.set("new key", " é")
    assert str(properties) == FILE + "new\\ key=\\ \\u00e9\n"


def test_setting_the_same_is_no_change() -> None:
    properties = Properties.parse(FILE)
    assert not properties.set("local.storage.path", "E:\\Disks\\Disks")
    assert str(properties) == FILE


def test_no_value_in_repr() -> None:
    assert "10.1.1.3" not in repr(Properties.parse(FILE))


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
        st.text(st.characters(codec="utf-8"), max_size=20),
        max_size=5,
    )
)
def test_anything_written_is_read_again(values: dict[str, str]) -> None:
    properties = Properties()
    for key, value in values.items():
        properties.set(key, value)
    again = Properties.parse(str(properties).encode("latin-1").decode("latin-1"))
    for key, value in values.items():
        if key.isascii() and key.isalnum():
            assert again.get(key) == (value.strip() or None)


@given(st.text(max_size=200))
def test_any_text_is_read_and_kept(text: str) -> None:
    properties = Properties.parse(text)
    for name in properties.names():
        properties.get(name)
    properties.set("id", "1")
    assert Properties.parse(str(properties)).get("id") == "1"


def test_the_file_keeps_its_mode_and_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "agent.properties"
    path.write_text(FILE)
    path.chmod(0o640)
    file = PropertiesFile(path)
    assert file.change({"HypervResource.id": "9"})
    assert not file.change({"HypervResource.id": "9"})
    assert path.read_text() == FILE.replace("HypervResource.id=5", "HypervResource.id=9")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["agent.properties"]


def test_a_file_that_is_not_there_is_empty_and_is_made_for_its_owner(tmp_path: Path) -> None:
    file = PropertiesFile(tmp_path / "new.properties")
    assert file.load().names() == ()
    file.change({"keystore.passphrase": "secret"})
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PropertiesUnreadable, match="directory"):
        PropertiesFile(tmp_path).load()
    large = tmp_path / "large"
    large.write_bytes(bytes(2 << 20))
    with pytest.raises(PropertiesUnreadable, match="more than"):
        PropertiesFile(large).load()
