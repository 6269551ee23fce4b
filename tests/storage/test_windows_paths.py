"""Windows path rules, by example and by property."""

import ntpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.storage.windows_paths import (
    BadWindowsPath,
    checked_component,
    checked_path,
    checked_stem,
    file_name,
    folded,
    join_path,
    join_relative,
    parent_folder,
    path_key,
    relative_to,
    same_path,
    split_extension,
    split_path,
)

NAME_CHARACTERS = st.characters(
    min_codepoint=32, max_codepoint=0x2FFF, exclude_characters='<>:"/\\|?*', codec="utf-8"
)


def _is_fine(name: str) -> bool:
    try:
        checked_component(name)
    except BadWindowsPath:
        return False
    return True


names = st.text(NAME_CHARACTERS, min_size=1, max_size=30).filter(_is_fine)
roots = st.sampled_from(["C:\\", "d:\\", "\\\\server\\share", "\\\\10.1.1.6\\primary$"])


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "C:",
        "a:b",
        "a*",
        "a?",
        'a"',
        "a<",
        "a>",
        "a|",
        "a\x00",
        "a\n",
        "NUL",
        "nul.vhdx",
        "CON",
        "com1",
        "COM9.txt",
        "lpt¹",
        "AUX .x",
        "conin$",
        "CLOCK$",
        "a.",
        "a ",
        "a.vhdx.",
        " a",
        "...",
        "x" * 256,
        "\ud800",
    ],
)
def test_a_name_that_windows_refuses_or_changes_is_refused(name: str) -> None:
    with pytest.raises(BadWindowsPath):
        checked_component(name)


@pytest.mark.parametrize("name", ["a", ".hidden", "a.b.vhdx", "COM10", "NULL", "nulx.vhdx", "ä ö"])
def test_an_ordinary_name_is_taken_as_it_is(name: str) -> None:
    assert checked_component(name) == name


@pytest.mark.parametrize("stem", ["a.vhdx", "A.VHD", "a.avhdx", "a.iso", "x\\y", "C:\\a"])
def test_a_stem_is_a_stem(stem: str) -> None:
    with pytest.raises(BadWindowsPath):
        checked_stem(stem)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "a\\b",
        "\\a",
        "C:",
        "C:a",
        "C:a\\b",
        "\\\\",
        "\\\\server",
        "\\\\server\\",
        "\\\\.\\PhysicalDrive0",
        "\\\\?\\C:\\a",
        "//./x/y",
        "\\??\\C:\\a",
        "C:\\a\\..\\b",
        "C:\\.",
        "\\\\\\server\\share",
        "\\\\ser ver\\share\\a",
        "C:\\NUL\\a",
        "C:\\a\\b:c",
        "1:\\a",
        "C:\\" + "\\".join(["x" * 60] * 5),
    ],
)
def test_what_is_no_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(BadWindowsPath):
        checked_path(path)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("c:/VMs//a.vhdx", "C:\\VMs\\a.vhdx"),
        ("C:\\", "C:\\"),
        ("C:\\a\\", "C:\\a"),
        ("//server/share/", "\\\\server\\share"),
        ("\\\\server\\share\\\\a", "\\\\server\\share\\a"),
    ],
)
def test_a_path_has_one_spelling(path: str, wanted: str) -> None:
    assert checked_path(path) == wanted


def test_an_error_text_shows_no_query() -> None:
    with pytest.raises(BadWindowsPath) as caught:
        checked_path("\\\\server\\share?user=u&password=hunter2")
    assert "hunter2" not in str(caught.value)


@given(roots, st.lists(names, min_size=1, max_size=4))
def test_join_and_split_are_inverse(root: str, parts: list[str]) -> None:
    path = join_path(root, *parts)
    assert split_path(path).components == tuple(parts)
    assert file_name(path) == parts[-1]
    assert parent_folder(path) == join_path(root, *parts[:-1])
    assert relative_to(path, root) == tuple(parts)
    assert checked_path(path) == path


@given(roots, st.lists(names, min_size=1, max_size=4))
def test_a_joined_path_is_what_windows_makes_of_it(root: str, parts: list[str]) -> None:
    path = join_path(root, *parts)
    assert ntpath.normpath(path) == path
    assert ntpath.isabs(path)


@given(st.text(max_size=40))
def test_a_relative_path_never_leaves_its_folder(relative: str) -> None:
    folder = "C:\\pool\\folder"
    try:
        path = join_relative(folder, relative)
    except BadWindowsPath:
        return
    assert ntpath.normpath(path).startswith(folder + "\\")
    assert relative_to(path, folder)


@given(st.text(max_size=60))
def test_checking_a_path_again_changes_nothing(text: str) -> None:
    try:
        path = checked_path(text)
    except BadWindowsPath:
        return
    assert checked_path(path) == path


@given(names)
def test_letter_case_does_not_make_another_file(name: str) -> None:
    for other in (name.upper(), name.lower()):
        if len(other) == len(name) and folded(other) == folded(name):
            assert same_path(f"C:\\{name}", f"c:/{other}")
    assert path_key(f"C:\\{name}") == path_key(f"C:\\{folded(name)}")


def test_paths_that_only_look_alike_are_different() -> None:
    assert not same_path("C:\\a", "C:\\b")
    assert not same_path("C:\\stra\u00dfe", "C:\\strasse")
    assert not same_path("not a path", "not a path")
    assert relative_to("C:\\pool2\\a", "C:\\pool") is None
    assert relative_to("D:\\pool\\a", "C:\\pool") is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.VHDX", ("a", ".vhdx")),
        ("a.b.vhd", ("a.b", ".vhd")),
        ("a", ("a", "")),
        (".x", (".x", "")),
    ],
)
def test_split_extension(name: str, parts: tuple[str, str]) -> None:
    assert split_extension(name) == parts
