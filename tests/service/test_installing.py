"""The service's files, checked by systemd itself, and what install, uninstall, status do."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloudstack_hyperv.service import installing, units
from cloudstack_hyperv.service.installing import Ran, ServiceError, ServiceInstaller

PACKAGING = Path(__file__).parents[2] / "packaging"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("journal", [False, True])
def test_systemd_takes_the_unit(tmp_path: Path, journal: bool) -> None:
    program = str(Path(sys.executable).parent / "cloudstack-hyperv")
    made = units.service_files(program=program, journal=journal)
    text = dict(made.files)[units.UNIT]
    unit = tmp_path / "cloudstack-hyperv.service"
    unit.write_text(text)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ours = [line for line in ended.stderr.splitlines() if "cloudstack-hyperv" in line]
    assert ended.returncode == 0, ended.stderr
    assert not ours, ended.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "cloudstack-hyperv.service"
    unit.write_text(dict(units.service_files().files)[units.UNIT])
    ended = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    level = next(line for line in ended.stdout.splitlines() if "Overall exposure" in line)
    assert float(level.split(":")[1].split()[0]) < 2.5, level


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="no logrotate")
def test_logrotate_takes_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    text = dict(units.service_files().files)[units.LOGROTATE]
    # The service's user need not exist on a machine that only builds.
    rules.write_text(text.replace("su cloudstack-hyperv cloudstack-hyperv", "su root root"))
    rules.chmod(0o644)
    ended = subprocess.run(
        ["logrotate", "--debug", "--state", str(tmp_path / "state"), str(rules)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "error" not in ended.stderr.lower(), ended.stderr


def test_packaging_has_the_files_that_install_writes() -> None:
    made = {place.name: text for place, text in units.service_files().files}
    for name, folder in (
        ("cloudstack-hyperv.service", "systemd"),
        ("cloudstack-hyperv.conf", "systemd"),
        ("cloudstack-hyperv", "logrotate"),
    ):
        assert (PACKAGING / folder / name).read_text() == made[name], name


@pytest.mark.parametrize("path", ["relative", "/with blank", "/a%b", "/a$b", "/a'b", "/a\nb", "/ä"])
def test_paths_that_systemd_would_read_otherwise_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="plain absolute path"):
        units.service_files(program=path)
    with pytest.raises(ValueError, match="plain absolute path"):
        units.service_files(configuration=path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloudstack_hyperv", "service", *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_command_line_writes_into_a_package_s_folder_and_takes_it_out_again(
    tmp_path: Path,
) -> None:
    root = ["--root", str(tmp_path)]
    assert run("status", *root).returncode == 3
    made = run("install", *root, "--program", "/usr/bin/cloudstack-hyperv")
    assert made.returncode == 0, made.stderr
    unit = tmp_path / "etc/systemd/system/cloudstack-hyperv.service"
    assert "ExecStart=/usr/bin/cloudstack-hyperv run --config /etc/cloudstack" in unit.read_text()
    assert (tmp_path / "etc/logrotate.d/cloudstack-hyperv").exists()
    assert (tmp_path / "etc/cloudstack-hyperv").stat().st_mode & 0o777 == 0o750
    (tmp_path / "etc/cloudstack-hyperv/cloudstack-hyperv.toml").write_text("# mine\n")
    assert run("install", *root, "--journal").returncode == 0
    assert not (tmp_path / "etc/logrotate.d/cloudstack-hyperv").exists()
    assert run("uninstall", *root).returncode == 0
    assert not unit.exists()
    assert (tmp_path / "etc/cloudstack-hyperv/cloudstack-hyperv.toml").read_text() == "# mine\n"
    assert run("install", *root, "--program", "a b").returncode == 1
    assert run("explode").returncode == 2


class Machine:
    """Stands for the programs of systemd: what was called, and what they say."""

    def __init__(self, **outputs: str) -> None:
        self.calls: list[str] = []
        self.outputs = outputs
        self.fails = ""

    def __call__(self, arguments: Sequence[str]) -> Ran:
        self.calls.append(" ".join(arguments))
        return Ran(1 if self.fails and self.fails in self.calls[-1] else 0,
                   self.outputs.get(arguments[1], "said no"))  # fmt: skip


class OnThisMachine(ServiceInstaller):
    """The live way, with a folder for a machine."""

    @property
    def is_live(self) -> bool:
        return True


def test_a_live_install_calls_systemd_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.chown", lambda *_: None)
    machine = Machine()
    installer = OnThisMachine(tmp_path, machine)
    told = installer.install(units.service_files())
    assert machine.calls == [
        "systemd-sysusers /etc/sysusers.d/cloudstack-hyperv.conf",
        "systemctl daemon-reload",
        "systemctl enable cloudstack-hyperv",
    ]
    assert "write /etc/cloudstack-hyperv/cloudstack-hyperv.toml" in told[-1]
    (tmp_path / "etc/cloudstack-hyperv/cloudstack-hyperv.toml").write_text("")
    installer.install(units.service_files())
    assert machine.calls[-1] == "systemctl restart cloudstack-hyperv"
    machine.calls.clear()
    installer.uninstall()
    assert machine.calls[0] == "systemctl disable --now cloudstack-hyperv"
    machine.fails = "daemon-reload"
    with pytest.raises(ServiceError, match="daemon-reload: said no"):
        installer.install(units.service_files())
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match="root"):
        installer.install(units.service_files())


def test_status_tells_what_systemd_knows(tmp_path: Path) -> None:
    shown = (
        "ActiveState=active\nSubState=running\nStatusText=serving 2 hosts\nMainPID=42\n"
        "UnitFileState=enabled\nNRestarts=1\nNeedDaemonReload=yes"
    )
    machine = Machine(show=shown)
    installer = OnThisMachine(tmp_path, machine)
    assert installer.status()[0] is False
    unit = tmp_path / "etc/systemd/system/cloudstack-hyperv.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    runs, lines = installer.status()
    assert runs
    assert lines[:3] == ["active (running), enabled", "serving 2 hosts", "process 42, 1 restarts"]
    assert "daemon-reload" in lines[3]
    machine.fails = "show"
    with pytest.raises(ServiceError):
        installer.status()


def test_a_missing_program_is_said() -> None:
    with pytest.raises(ServiceError, match="is not installed"):
        installing.run_program(["no-such-program-1"])
