"""The manifest of the guide is valid, and its command is one that the trainers take."""

import pathlib
import shlex
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from trainers import parsing, train

ROOT = pathlib.Path(__file__).absolute().parents[1]
DOCUMENTS = list(
    yaml.safe_load_all((ROOT / "docs/kubernetes/job.yaml").read_text(encoding="utf-8"))
)
(JOB,) = (document for document in DOCUMENTS if document["kind"] == "Job")
SCRIPT = JOB["spec"]["template"]["spec"]["containers"][0]["command"][2]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["kind"])
def test_it_is_valid(document):
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(document, version, strict=True)


def flags():
    command = SCRIPT.partition("&")[0].replace("\\\n", " ")
    return shlex.split(command.replace("$JOB_COMPLETION_INDEX", "1"))[3:]


def test_its_flags_are_taken(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = [flag for flag in flags() if not flag.startswith("--data_dir")]
    command = parsing.parse(train.PROGRAM, given)
    assert command.machine.distribution == "multi_worker"


def test_its_workers_are_its_pods():
    (workers,) = (flag.partition("=")[2] for flag in flags() if flag.startswith("--workers"))
    name, spec = JOB["metadata"]["name"], JOB["spec"]
    (service,) = (document for document in DOCUMENTS if document["kind"] == "Service")
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    expected = [
        f"{name}-{index}.{service['metadata']['name']}:{port}"
        for index in range(spec["completions"])
    ]
    assert workers.split(",") == expected
    assert spec["parallelism"] == spec["completions"]  # none can start without the others


def test_a_run_that_was_asked_to_end_is_not_taken_for_a_finished_one(tmp_path):
    before, _, after = SCRIPT.partition("&")
    assert before.startswith("python -m trainers.train")
    waiting = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('ready', flush=True); time.sleep(60)"  # noqa: E501
    script = f'{sys.executable} -c "{waiting}" &{after}'.replace("/shared/run", str(tmp_path))
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.wait(20) == 1
