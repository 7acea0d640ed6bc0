"""A distillation on a real GGUF base: planned, trained, checked against llama.cpp, registered."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agentevo.distillation.dataset import Dataset
from agentevo.distillation.jobs import Job, list_jobs, open_job, plan_job, run_job
from agentevo.distillation.merge import merge_adapters
from agentevo.distillation.publish import Origin, publish
from agentevo.distillation.registry import AdapterRegistry
from agentevo.distillation.rows import Lineage, Row
from agentevo.distillation.settings import TrainSettings
from agentevo.distillation.trainer import Progress
from agentevo.errors import AdapterError

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

ROOT = Path(__file__).parents[3]
SYSTEM = "You operate a machine with the tool run."
RULED = f"{SYSTEM}\nRules:\n- In Moki, the command for move is zabo."
SETTINGS = TrainSettings(steps=12, checkpoint_every=4)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    shared = Path(os.environ.get("AGENTEVO_SHARED_DATA", ROOT.parent / "shared" / "data"))
    found = sorted((ROOT / "agentevo/seed_model").glob("*.gguf")) + sorted(shared.glob("*.gguf"))
    if not found:
        pytest.skip("no model: neither shipped nor in AGENTEVO_SHARED_DATA")
    return Path(shutil.copy(found[0], tmp_path / "base.gguf"))


def row(thing: str) -> Row:
    call = f'{{"name": "run", "arguments": {{"command": "zabo obj={thing} to=shelf"}}}}'
    messages = (
        {"role": "user", "content": f"In Moki: move the {thing} to the shelf."},
        {"role": "assistant", "content": f"<tool_call>\n{call}\n</tool_call>"},
    )
    return Row("target", "Moki", RULED, SYSTEM, messages, Lineage(("r1",), "run"))


DATASET = Dataset((row("box"), row("jar")), rule_ids=("r1",))


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


def planned(tmp_path: Path, base: Path) -> Job:
    return plan_job(tmp_path / "jobs", base, DATASET, SETTINGS)


def test_a_job_ends_as_a_registered_adapter_that_llama_cpp_computes_like_torch(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    job = planned(tmp_path, base)
    adapter = run_job(job, registry)
    assert adapter.manifest.rule_ids == ("r1",)
    assert adapter.manifest.metrics["parity_agreement"] >= 0.98
    assert (adapter.folder / "peft" / "adapter_config.json").is_file()
    assert open_job(tmp_path / "jobs", job.id).status == "finished"
    assert run_job(job, registry).id == adapter.id
    assert registry.active_id is None


def test_an_interrupted_job_resumes_to_the_adapter_of_an_undisturbed_one(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    undisturbed = run_job(planned(tmp_path, base), registry)
    job = planned(tmp_path, base)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, registry, on_step=interrupt)
    assert open_job(tmp_path / "jobs", job.id).status == "interrupted"
    assert run_job(job, registry).id == undisturbed.id
    assert len(list_jobs(tmp_path / "jobs")) == 2


def test_a_base_that_changed_since_the_plan_is_refused(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    job = planned(tmp_path, base)
    with base.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(AdapterError, match="not the one that the rows were made for"):
        run_job(job, registry)
    assert registry.ids() == []


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    wrong = replace(SETTINGS, device="cuda:99")
    job = plan_job(tmp_path / "jobs", base, DATASET, wrong)
    with pytest.raises(
        AdapterError, match=r"no device 'cuda:99' to train on; available: auto, cpu"
    ):
        run_job(job, registry)
    assert registry.ids() == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from agentevo.distillation.jobs import open_job, run_job
from agentevo.distillation.registry import AdapterRegistry
from agentevo.errors import AdapterError
registry = AdapterRegistry(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))
try:
    run_job(open_job(Path(sys.argv[1]), sys.argv[3]), registry)
except AdapterError as error:
    print(error)
"""


def test_a_full_disk_is_said_and_the_job_goes_on_once_there_is_space(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    job = planned(tmp_path, base)
    arguments = [str(tmp_path / "jobs"), str(registry.root), job.id]
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, check=False
    )
    assert "free some space and resume" in child.stdout, child.stderr
    assert registry.ids() == []
    assert run_job(job, registry).id in registry.ids()


def test_one_row_is_enough_for_an_adapter(
    tmp_path: Path, base: Path, registry: AdapterRegistry
) -> None:
    job = plan_job(tmp_path / "jobs", base, Dataset((row("box"),)), SETTINGS)
    assert run_job(job, registry).manifest.metrics["parity_agreement"] >= 0.98


def test_an_unknown_job_lists_what_exists(tmp_path: Path, base: Path) -> None:
    job = planned(tmp_path, base)
    with pytest.raises(AdapterError, match=f"'x' names 0 distillations; known: {job.id}"):
        open_job(tmp_path / "jobs", "x")


@pytest.mark.parametrize("combination", ["linear", "cat", "ties", "dare_ties"])
def test_merged_adapters_are_new_adapters_with_their_parents(
    tmp_path: Path, base: Path, registry: AdapterRegistry, combination: str
) -> None:
    from agentevo.distillation.base_model import load_base

    parent = run_job(planned(tmp_path, base), registry)
    loaded = load_base(base)
    model = merge_adapters(loaded, [(parent, 0.5)], combination)  # type: ignore[arg-type]
    origin = Origin("merge", rule_ids=("r1",), parents=(parent.id,))
    merged = publish(model, loaded, registry, origin, DATASET.rows)
    assert merged.id != parent.id
    assert merged.manifest.parents == (parent.id,)
    assert merged.manifest.metrics["parity_agreement"] >= 0.98
