"""The files of deploy/ hold together: they parse, start what the command has, and name what is there.

No container engine or cluster runs here; field names are held against the lists below.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kirigami.search.command.options import split
from kirigami.search.command.verbs import VERBS
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve

DEPLOY = Path(__file__).parents[1] / "deploy"
TEXT = {file.name: file.read_text() for file in DEPLOY.iterdir() if file.suffix in (".yaml", "") and file.is_file()}
COMPOSE = yaml.safe_load(TEXT["compose.yaml"])
OBJECTS = list(yaml.safe_load_all(TEXT["kubernetes.yaml"]))
URL = "postgresql://kirigami:secret@postgres:5432/kirigami"
# Ours, and those of the images' own entry points.
KNOWN_NAMES = {"KIRIGAMI_STORAGE", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"}
SERVICE_KEYS = {
    *("image", "build", "secrets", "entrypoint", "depends_on", "volumes", "init", "command", "cpus"),
    *("stop_grace_period", "restart", "ports", "environment", "healthcheck"),
}
POD_KEYS = {
    *("restartPolicy", "terminationGracePeriodSeconds", "securityContext", "initContainers", "containers", "volumes"),
}
CONTAINER_KEYS = {"name", "image", "args", "command", "env", "ports", "readinessProbe", "resources", "volumeMounts"}
SPEC_KEYS = {
    "StatefulSet": {"serviceName", "replicas", "selector", "template", "volumeClaimTemplates"},
    "Deployment": {"replicas", "selector", "template"},
    "Job": {"completionMode", "parallelism", "completions", "backoffLimit", "podFailurePolicy", "template"},
    "Service": {"clusterIP", "type", "selector", "ports"},
    "PersistentVolumeClaim": {"accessModes", "resources"},
}


def of(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in OBJECTS
    if one["kind"] in ("StatefulSet", "Deployment", "Job")
}
CONTAINERS = [part for pod in PODS.values() for part in (*pod.get("initContainers", []), *pod["containers"])]
COMMANDS = {
    **{f"compose {name}": one["command"] for name, one in COMPOSE["services"].items() if "command" in one},
    **{f"kubernetes {one['name']}": one["args"] for one in CONTAINERS if "args" in one},
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_commands_compose_against_the_config(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIRIGAMI_STORAGE", URL)
    plain = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(word)) for word in words]
    verb, *given = plain
    overrides, _ = split(given, VERBS[verb].options)

    config = resolve(compose(overrides))

    assert verb in ("search", "dashboard")
    assert config["storage"]["url"] == URL
    assert len(COMMANDS) == 4


def test_environment_names_are_read_by_somebody() -> None:
    named = {name for one in COMPOSE["services"].values() for name in one.get("environment", {})}
    named |= {entry["name"] for one in CONTAINERS for entry in one.get("env", [])}
    named |= set(re.findall(r"\b(KIRIGAMI_\w+)=", TEXT["compose.yaml"]))

    assert {"KIRIGAMI_STORAGE", "POSTGRES_PASSWORD"} <= named <= KNOWN_NAMES
    assert "${oc.env:KIRIGAMI_STORAGE" in json.dumps(compose(["storage=postgres"])["storage"])


def test_images_are_pinned() -> None:
    images = [one["image"] for one in (*COMPOSE["services"].values(), *CONTAINERS)]
    images += re.findall(r"^FROM (\S+)", TEXT["Dockerfile"], re.MULTILINE)

    assert len(images) == 8
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+[\w.-]*", image) for image in images), images


def test_no_password_is_written_down() -> None:
    entries = [entry for one in CONTAINERS for entry in one.get("env", [])]
    secret = [entry for entry in entries if entry["name"] in ("POSTGRES_PASSWORD", "KIRIGAMI_STORAGE")]

    assert all("secretKeyRef" in entry["valueFrom"] and "value" not in entry for entry in secret)
    assert len(secret) == 3
    assert not any(one["kind"] == "Secret" for one in OBJECTS)
    for found in re.findall(r"postgresql://kirigami:(\S+?)@", "".join(TEXT.values())):
        assert found.startswith("$"), found
    assert "password" in (DEPLOY / ".gitignore").read_text().split()


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", [])]

    assert ports == ["127.0.0.1:8080:8080"]
    assert of("Service", "dashboard")["spec"]["type"] == "ClusterIP"
    assert of("Service", "postgres")["spec"]["clusterIP"] == "None"


def test_objects_have_the_fields_that_kubernetes_knows_and_find_each_other() -> None:
    for one in OBJECTS:
        assert set(one) <= {"apiVersion", "kind", "metadata", "spec"}
        assert set(one.get("spec", {})) <= SPEC_KEYS.get(one["kind"], set())
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "kirigami"
    for pod in PODS.values():
        assert set(pod) <= POD_KEYS
        mounted = {mount["name"] for part in pod["containers"] for mount in part.get("volumeMounts", [])}
        assert mounted - {"data"} == {volume["name"] for volume in pod.get("volumes", [])}
    for part in CONTAINERS:
        assert set(part) <= CONTAINER_KEYS
        assert {"requests", "limits"} <= set(part["resources"])
    for kind, name in (("StatefulSet", "postgres"), ("Deployment", "dashboard")):
        spec = of(kind, name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels == of("Service", name)["spec"]["selector"]


def test_workers_have_time_to_hand_their_trials_back() -> None:
    job = of("Job", "workers")["spec"]

    assert PODS["workers"]["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    assert PODS["workers"]["terminationGracePeriodSeconds"] == 60
    assert COMPOSE["services"]["worker"]["stop_grace_period"] == "60s"
    assert (job["completionMode"], job["parallelism"]) == ("Indexed", job["completions"])
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"] == {
        "containerName": "worker",
        "operator": "In",
        "values": [2],
    }


def test_services_have_the_fields_that_compose_knows() -> None:
    for service in COMPOSE["services"].values():
        assert set(service) <= SERVICE_KEYS, set(service) - SERVICE_KEYS
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])


def test_the_url_is_made_of_the_secret(tmp_path: Path) -> None:
    """The entry point is a line of shell: run it, with a command that shows what it gets."""
    (tmp_path / "password").write_text("abc123\n")
    shown = tmp_path / "kirigami"
    shown.write_text('#!/bin/sh\necho "$KIRIGAMI_STORAGE $*"\n')
    shown.chmod(0o755)
    shell, flag, line, name = COMPOSE["services"]["worker"]["entrypoint"]
    line = line.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, flag, line, name, "search", "study=digits"], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "postgresql://kirigami:abc123@postgres:5432/kirigami search study=digits\n"


def test_the_image_holds_what_the_wheel_is_built_from() -> None:
    copied = {
        word for line in re.findall(r"^COPY (.*)", TEXT["Dockerfile"], re.MULTILINE) for word in line.split()[:-1]
    }
    root = DEPLOY.parent
    allowed = {line[1:] for line in TEXT.get("Dockerfile.dockerignore", "").splitlines() if line.startswith("!")}
    allowed = allowed or {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }

    assert copied == allowed
    assert all((root / name).exists() for name in copied)
    packages = re.search(r"^packages = \[(.*)\]", (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= copied


def test_compose_itself_agrees(tmp_path: Path) -> None:
    client = [shutil.which("docker") or "docker", "compose"]
    if shutil.which("docker") is None or subprocess.run([*client, "version"], capture_output=True).returncode:
        pytest.skip("there is no docker compose here")
    done = subprocess.run([*client, "-f", str(DEPLOY / "compose.yaml"), "config"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
