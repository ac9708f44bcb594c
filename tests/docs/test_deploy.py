"""The examples of deployment are well formed, their numbers agree, and the pages show what is in them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgflow.cli.app import _COMMANDS
from pgflow.config import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
PAGES = {
    name: (ROOT / "docs" / "how-to" / f"deploy-{name}.md").read_text() for name in ("systemd", "docker", "kubernetes")
}
UNIT = (DEPLOY / "pgflow-worker.service").read_text()
#: Seconds after the grace period in which a worker ends, see docs/explanation/timeouts.md.
FAREWELL = 2


def grace_of(arguments: list[str]) -> float:
    return float(arguments[arguments.index("--grace") + 1])


def unit(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(found)


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def kubernetes() -> tuple[Any, Any]:
    job, deployment = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return job, deployment


def test_systemd_gives_the_worker_its_time() -> None:
    grace = grace_of(unit("ExecStart").split())
    assert grace == Settings().grace
    assert float(unit("TimeoutStopSec")) > grace + FAREWELL
    for shown in (
        f"--grace {grace:g}",
        f"TimeoutStopSec={unit('TimeoutStopSec')}",
        "Restart=always",
        "RestartPreventExitStatus=2",
    ):
        assert f"`{shown}`" in PAGES["systemd"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "pgflow-worker.service"
    copy.write_text(UNIT.replace("/srv/app/.venv/bin/pgflow", sys.executable))
    said = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    ours = [line for line in said.stderr.splitlines() if "pgflow-worker" in line]
    assert ours == []


def test_docker_gives_the_worker_its_time() -> None:
    worker = compose()["services"]["worker"]
    stop = float(worker["stop_grace_period"].removesuffix("s"))
    assert stop > grace_of(worker["command"]) + FAREWELL
    assert f"`stop_grace_period: {worker['stop_grace_period']}`" in PAGES["docker"]


def test_compose_waits_for_what_it_needs() -> None:
    services = compose()["services"]
    for service in services.values():
        assert service.keys() & {"image", "build"}
        assert set(service.get("depends_on", ())) <= services.keys()
    assert services["worker"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["environment"] == services["worker"]["environment"]


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    said = subprocess.run([str(linter), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize(("given", "is_valid"), [("stop_grace_period: 35s", True), ("stop_grace: 35s", False)])
def test_the_compose_file_is_one_by_the_specification(tmp_path: Path, given: str, is_valid: bool) -> None:
    copy = tmp_path / "compose.yaml"
    copy.write_text((DEPLOY / "compose.yaml").read_text().replace("stop_grace_period: 35s", given))
    assert given in copy.read_text()
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(copy)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode == 0) is is_valid, said.stdout


def test_the_dockerfile_starts_the_worker_without_a_shell() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["pgflow"]' in dockerfile
    assert f'"--grace", "{Settings().grace:g}"' in dockerfile


def test_kubernetes_gives_the_worker_its_time() -> None:
    _, deployment = kubernetes()
    pod = deployment["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    seconds = pod["terminationGracePeriodSeconds"]
    assert seconds > grace_of(worker["args"]) + FAREWELL
    assert f"`terminationGracePeriodSeconds: {seconds}`" in PAGES["kubernetes"]
    assert "livenessProbe" not in worker


def test_kubernetes_selects_its_pods_and_passes_the_address() -> None:
    job, deployment = kubernetes()
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    containers = [each["spec"]["template"]["spec"]["containers"][0] for each in (job, deployment)]
    assert containers[0]["env"] == containers[1]["env"]
    assert containers[0]["env"][0]["name"] == "PGFLOW_DATABASE_URL"


def test_every_command_exists() -> None:
    used = {unit("ExecStart").split()[1]}
    used |= {service["command"][0] for service in compose()["services"].values() if "command" in service}
    used |= {each["spec"]["template"]["spec"]["containers"][0]["args"][0] for each in kubernetes()}
    assert used == {"worker", "migrate"} <= _COMMANDS.keys()
