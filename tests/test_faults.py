"""Faults injected into runs, files and surroundings; what is promised holds (`make faults`: all)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from random import Random

import psutil
import pytest
from conftest import ROOT

from lcelib import subnetworks
from lcelib.data.conversion import convert
from lcelib.errors import LceError
from lcelib.files import lock, sha256
from lcelib.measures.weat import read as read_weat
from lcelib.models import load
from lcelib.run.paths import Run, notebooks
from lcelib.run.profiles import parse_overrides, profile

SMALL = ["steps=4", "seeds=0", "sparsities=0.3", "max_pairs=120", "grid=short"]
SMALL = [x for setting in SMALL for x in ("--set", setting)]
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
ROOT_ONLY = pytest.mark.skipif(not IS_ROOT, reason="needs root, for unshare")


def lce(results, *arguments, before=(), **options):
    """A command on its way, in a session of its own."""
    environment = os.environ | {"LCE_RESULTS": str(results)} | options.pop("env", {})
    # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
    if os.name == "posix":
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(
        [*before, sys.executable, "-m", "lcelib.cli", *arguments],
        cwd=options.pop("cwd", ROOT), env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def ended(process, seconds=300):
    """Its exit status and what it printed."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out + err


def files(results):
    """Every file of a run that is a result, with its hash."""
    found = (
        *results.rglob("*.safetensors"),
        *results.rglob("*.csv"),
        *results.rglob("corpus.json"),
    )
    return {str(p.relative_to(results)): sha256(p) for p in found if "jobs" not in p.parts}


def descendants(results):
    """What still runs on account of a results folder, kernels in sessions of their own too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LCE_RESULTS") == str(results) and process.is_running():
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(true, seconds=60):
    end = time.time() + seconds
    while not true():
        assert time.time() < end
        time.sleep(0.2)


@pytest.mark.posix
@pytest.mark.faults(1)
def test_a_killed_kernel_is_said_and_leaves_no_notebook(tmp_path):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    stamp = tmp_path / "killed"
    (startup / "kill.py").write_text(
        "import os, pathlib\n"
        "def kill(result):\n"
        "    if get_ipython().execution_count >= 3:\n"
        f"        pathlib.Path({str(stamp)!r}).touch()\n"
        "        os.kill(os.getpid(), 9)\n"
        'get_ipython().events.register("post_run_cell", kill)\n'
    )
    arguments = ["stage", "notebook", "--seed", "0", "--of", "01_corpus"]
    process = lce(tmp_path, *arguments, env={"IPYTHONDIR": str(tmp_path / "ipython")})
    status, said = ended(process)
    assert time.time() - stamp.stat().st_mtime < 5
    assert status == 2
    assert "killed, most often for want of memory" in said
    folder = tmp_path / "toy" / "notebooks" / "seed0"
    assert [p.name for p in folder.iterdir()] == ["01_corpus.partial.ipynb"]
    assert not list(tmp_path.rglob("jobs/*"))


@pytest.mark.faults(2)
@pytest.mark.slow
@pytest.mark.parametrize("group", range(4))
def test_twenty_killed_runs_end_with_the_same_bytes(tmp_path, group):
    goal = Run(profile("toy", parse_overrides(SMALL[1::2]))).folder.name
    goal += "/subnetworks/seed0/anti-1.safetensors"

    def started(results):
        return lce(results, "run", "--until", str(results / goal), *SMALL)

    start = time.time()
    assert ended(started(tmp_path / "whole"))[0] == 0
    duration, random = time.time() - start, Random(group)
    for number in range(5):
        results = tmp_path / f"killed{number}"
        process = started(results)
        time.sleep(random.uniform(1, duration))
        for child in (process, *psutil.Process(process.pid).children(recursive=True)):
            child.kill()
        process.communicate()
        assert ended(started(results))[0] == 0
        assert files(results) == files(tmp_path / "whole")
        assert not list(results.rglob("scratch/*/*"))


@pytest.mark.posix
@pytest.mark.faults(3)
@pytest.mark.parametrize(
    ("number", "to", "status"),
    [
        (signal.SIGINT, "killpg", 130),
        (signal.SIGTERM, "killpg", 143),
        (signal.SIGTERM, "kill", 143),
    ],
    ids=["interrupt", "terminate-group", "terminate"],
)
def test_an_interrupted_run_leaves_nothing_running(tmp_path, number, to, status):
    process = lce(tmp_path, "run", *SMALL)
    wait_for(lambda: list(tmp_path.rglob("locks/subnetworks*")))
    start = time.time()
    getattr(os, to)(process.pid, number)
    found, _ = ended(process)
    assert time.time() - start < 10
    assert found == status
    wait_for(lambda: not descendants(tmp_path), 10)
    import fcntl

    with open(next(tmp_path.rglob(".lock")), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: no BlockingIOError


@pytest.mark.posix
@pytest.mark.faults(3)
def test_an_interrupted_notebook_leaves_no_kernel(tmp_path):
    process = lce(tmp_path, "stage", "notebook", "--seed", "0", "--of", "01_corpus")
    wait_for(lambda: any("ipykernel" in " ".join(p.cmdline()) for p in descendants(tmp_path)))
    process.terminate()
    assert ended(process, 10)[0] == 143
    wait_for(lambda: not descendants(tmp_path), 10)


@pytest.mark.posix
@pytest.mark.faults(4)
def test_too_little_memory_is_said_with_what_to_do(tmp_path):
    assert ended(lce(tmp_path, "stage", "corpus"))[0] == 0

    def less():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    arguments = ["stage", "subnetworks", "--seed", "0", "--of", "anti", "--set", "batch_size=4000"]
    assert ended(lce(tmp_path, "stage", "corpus", "--set", "batch_size=4000"))[0] == 0
    status, said = ended(lce(tmp_path, *arguments, preexec_fn=less))
    assert status == 3
    assert "lce stage subnetworks: memory is used up" in said
    assert "smaller batch_size" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("jobs/subnetworks*"))


@pytest.mark.posix
@pytest.mark.faults(5)
def test_a_full_disk_is_named_and_what_is_there_stays(tmp_path):
    assert ended(lce(tmp_path, "stage", "corpus", *SMALL))[0] == 0
    before = files(tmp_path)
    assert before

    def small():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    arguments = ["stage", "subnetworks", "--seed", "0", "--of", "anti", *SMALL]
    status, said = ended(lce(tmp_path, *arguments, preexec_fn=small))
    assert status == 3
    assert "disk is full" in said
    assert files(tmp_path) == before
    assert not list(tmp_path.rglob(".tmp-*"))
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    assert ended(lce(tmp_path, *arguments))[0] == 0  # and goes on where there is room


@pytest.fixture(scope="module")
def subnetwork(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "n.safetensors"
    subnetworks.dense(load("toybert").model).save(path)
    return path


@pytest.mark.faults(6)
def test_a_subnetwork_file_cut_anywhere_is_refused(subnetwork, tmp_path):
    whole = subnetwork.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    cuts = [*range(0, header + 64, 64), *(Random(0).randrange(len(whole)) for _ in range(100))]
    path = tmp_path / "cut.safetensors"
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(LceError, match="rebuilt"):
            subnetworks.load(path)


@pytest.mark.faults(6)
def test_a_model_cut_anywhere_is_refused(fresh_toy, tmp_path):
    fresh_toy.model.save_pretrained(tmp_path)
    fresh_toy.tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for cut in (0, 7, 64, 640, *(Random(1).randrange(len(whole)) for _ in range(10))):
        path.write_bytes(whole[:cut])
        with pytest.raises(LceError):
            load(tmp_path)


@pytest.mark.faults(7)
def test_one_flipped_bit_is_found_before_use(subnetwork, tmp_path):
    whole = bytearray(subnetwork.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    random, path = Random(2), tmp_path / "flipped.safetensors"
    for number in range(200):
        at = random.randrange(header if number % 4 == 0 else len(whole))
        whole[at] ^= 1 << number % 8
        path.write_bytes(whole)
        whole[at] ^= 1 << number % 8
        with pytest.raises(LceError, match="rebuilt"):
            subnetworks.load(path)


@pytest.mark.faults(9)
@pytest.mark.slow
def test_of_two_runs_at_once_one_works_and_one_waits(tmp_path):
    assert ended(lce(tmp_path / "alone", "run", "--until", "corpus", *SMALL))[0] == 0
    for number in range(10):
        results = tmp_path / str(number)
        both = [lce(results, "run", "--until", "corpus", *SMALL) for _ in range(2)]
        said = [ended(process) for process in both]
        assert [status for status, _ in said] == [0, 0]
        assert sum("waiting for another run" in text for _, text in said) == 1
        assert sum("Nothing to be done" in text for _, text in said) == 1
        assert files(results) == files(tmp_path / "alone")


@pytest.mark.faults(10)
def test_a_lock_file_of_a_dead_process_is_no_lock_and_a_held_one_is_not_taken(tmp_path, capsys):
    path = tmp_path / "locks" / "job"
    path.parent.mkdir()
    path.write_text("pid 999999 on another-host")
    start = time.time()
    with lock(path, "waiting"):
        assert time.time() - start < 1
        assert "waiting" not in capsys.readouterr().out
        other = "import sys; from pathlib import Path; from lcelib.files import lock\n"
        other += "with lock(Path(sys.argv[1]), 'waiting for the holder'): print('mine')"
        process = subprocess.Popen(
            [sys.executable, "-c", other, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout.readline() == "waiting for the holder\n"
        time.sleep(0.5)
        assert process.poll() is None
    assert process.communicate(timeout=10)[0] == "mine\n"


@pytest.mark.faults(12)
def test_a_renamed_tensor_is_refused_by_name(fresh_toy, tmp_path):
    from safetensors.torch import load_file, save_file

    fresh_toy.model.save_pretrained(tmp_path)
    fresh_toy.tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    tensors[name.replace("query", "quarry")] = tensors.pop(name)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(LceError, match=r"layer\.0\.attention\.self\.query\.weight"):
        load(tmp_path)


@pytest.mark.faults(15)
def test_code_in_a_model_folder_is_not_run(fresh_toy, tmp_path):
    fresh_toy.model.save_pretrained(tmp_path)
    fresh_toy.tokenizer.save_pretrained(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForMaskedLM", "AutoTokenizer")
    config |= {"model_type": "evil", "auto_map": {n: f"evil.{n}" for n in names}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LceError):
        load(tmp_path)
    assert not canary.exists()


@pytest.mark.faults(15)
def test_an_archive_writes_nowhere(tmp_path):
    wheel = tmp_path / "in" / "evil.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("../../canary", "x")
        archive.writestr("/tmp/lcelib-canary", "x")
    with pytest.raises(LceError):
        convert(wheel, tmp_path / "out" / "model")
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"evil.whl"}


@pytest.mark.faults(19)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attr1": []}, "empty"),
        ({"targ2": ["nurse"], "targ1": ["nurse", "poet"]}, "nurse occurs twice"),
        ({"attr1": ["he", "he"]}, "he occurs twice"),
    ],
)
def test_word_lists_that_measure_nothing_are_refused(tmp_path, change, says):
    sets = {k: [k] for k in ("targ1", "targ2", "attr1", "attr2")} | change
    path = tmp_path / "weat.json"
    path.write_text(json.dumps({k: {"examples": v} for k, v in sets.items()}))
    with pytest.raises(LceError, match=says):
        read_weat(path)


@pytest.mark.faults(20)
def test_without_home_from_elsewhere_into_a_path_with_spaces(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "HOME"}
    environment["LCE_RESULTS"] = str(tmp_path / "Ergebnisse für alle")
    command = [sys.executable, "-m", "lcelib.cli", "run", "--until", "corpus", *SMALL]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("corpus.json"))


def copy_of_the_checkout(folder):
    """What a run needs of the checkout, elsewhere."""
    for name in ("lcelib", "notebooks", "clusters", "figures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.mark.posix
@pytest.mark.faults(20)
def test_a_checkout_that_cannot_be_written_in_a_path_with_spaces(tmp_path):
    checkout = copy_of_the_checkout(tmp_path / "nur für mich")
    before = {p: p.stat().st_mtime_ns for p in checkout.rglob("*")}
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before_ = ()
    if IS_ROOT:  # whom permissions do not bind
        mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
        before_ = ("unshare", "--mount", "sh", "-c", mount, str(checkout))
    environment = {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ["run", "--until", "corpus", *SMALL]
    process = lce(tmp_path / "results", *arguments, before=before_, cwd=checkout, env=environment)
    status, said = ended(process)
    assert status == 0, said
    assert list((tmp_path / "results").rglob("corpus.json"))
    assert {p: p.stat().st_mtime_ns for p in checkout.rglob("*")} == before


@pytest.mark.posix
@pytest.mark.faults(21)
@pytest.mark.slow
@ROOT_ONLY
def test_the_whole_graph_without_network_on_one_core_in_another_language(tmp_path):
    loopback = (  # which kernels need; unshare --net leaves it down
        "import fcntl, os, socket, struct, sys\n"
        "up = struct.pack('16sh', b'lo', 1)\n"
        "fcntl.ioctl(socket.socket(), 0x8914, up)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    alone = ("unshare", "--net", sys.executable, "-c", loopback, "taskset", "--cpu-list", "0")
    environment = {"LANG": "C", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = lce(tmp_path, "run", "--cores", "1", *SMALL, before=alone, env=environment)
    status, said = ended(process, 900)
    assert status == 0, said
    made = {p.stem for p in tmp_path.rglob("notebooks/seed0/*.ipynb")}
    assert made == set(notebooks(profile("toy", parse_overrides(SMALL[1::2]))))
    tests = ["tests/test_editing.py", "tests/test_training.py", "tests/test_corpus.py"]
    command = [*alone, sys.executable, "-m", "pytest", *tests]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.faults(24)
@pytest.mark.slow
def test_hash_seed_clock_and_locale_change_no_figure(tmp_path):
    manifests = []
    for seed in range(10):
        results = tmp_path / str(seed)
        (results / "toy").mkdir(parents=True)
        for name in ("results.csv", "located.csv"):
            shutil.copy(ROOT / "figures" / name, results / "toy" / name)
        environment = {"PYTHONHASHSEED": str(seed), "TZ": ("UTC", "Asia/Tokyo")[seed % 2]}
        environment["LC_ALL"] = ("C.UTF-8", "C", "POSIX")[seed % 3]
        assert ended(lce(results, "stage", "figures", env=environment))[0] == 0
        manifests.append((results / "toy" / "figures" / "manifest.json").read_bytes())
    assert len(set(manifests)) == 1
