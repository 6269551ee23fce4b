"""The command line: help everywhere, exit statuses, refusals that name what to do."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloudstack_hyperv", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [(), ("run",), ("check",), ("emulate",), ("demo",), ("selftest",), ("compare",)],
    ids=lambda a: " ".join(a),
)
def test_help_everywhere(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, "--help")
    assert ended.returncode == 0
    assert "Usage" in ended.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("cloudstack-hyperv 0.")


def test_run_without_a_configured_host_refuses_with_2(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text('[direct]\nallow = ["127.0.0.1"]\n')
    ended = run("run", "--config", str(empty))
    assert ended.returncode == 2
    assert "[[hosts]]" in ended.stderr
    assert "demo" in ended.stderr
    absent = run("run", "--config", str(tmp_path / "absent.toml"))
    assert absent.returncode == 2
    assert "absent.toml" in absent.stderr


def test_run_names_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[direct]\nalow = ["127.0.0.1"]\n')
    ended = run("run", "--config", str(wrong))
    assert ended.returncode == 2
    assert "did you mean allow?" in ended.stderr


def test_emulated_never_replaces_configured_hosts(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text(
        '[[hosts]]\nname = "hv1"\n[hosts.winrm]\naddress = "192.0.2.1"\nuser = "u"\n'
        'password = { value = "p" }\n[direct]\nallow = ["127.0.0.1"]\n'
    )
    ended = run("run", "--emulated", "--config", str(real))
    assert ended.returncode == 2
    assert "--emulated" in ended.stderr


def test_emulate_refuses_what_it_cannot_be(tmp_path: Path) -> None:
    assert run("emulate", str(tmp_path), "--profile", "1999").returncode == 2
    assert run("emulate", str(tmp_path), "--share", "nonsense").returncode == 2


def test_run_emulated_serves_and_stops_cleanly(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f"state_folder = '{tmp_path / 'state'}'\n[direct]\nport = 0\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudstack_hyperv", "run", "--emulated",
         "--config", str(config), "--log-format", "json"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        deadline = time.monotonic() + 30
        for line in process.stderr:
            if "direct door open" in line:
                break
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_check_of_an_unreachable_host_says_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        '[[hosts]]\nname = "hv1"\n[hosts.winrm]\naddress = "127.0.0.1"\nport = 1\n'
        'transport = "http"\nuser = "u"\npassword = { value = "planted" }\n'
    )
    ended = run("check", "--config", str(config))
    assert ended.returncode == 1
    assert "winrm" in ended.stdout
    assert "planted" not in ended.stdout + ended.stderr
    assert run("check", "nosuch", "--config", str(config)).returncode == 2
