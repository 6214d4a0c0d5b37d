# The dependency graph of a run. `make paper` builds it at the toy profile;
# `--config profile=… set_FIELD=…` builds any other. Each job is one call of
# `lce stage`; paths and their meaning are in lcelib/workflow.py.
import os
import shlex
import sys

from lcelib.profiles import profile
from lcelib.workflow import Run, code, notebooks

# Snakemake reads the values of the command line as YAML; the profile reads text.
texts = {
    key.removeprefix("set_"): value
    if isinstance(value, (str, list))
    else ("" if value is None else repr(value))
    for key, value in config.items()
    if key.startswith("set_")
}
settings = profile(config.get("profile", "toy"), texts)
run_ = Run(settings)
LCE = f"{shlex.quote(sys.executable)} -m lcelib.cli stage"
ARGS = f"--profile {settings.name}" + "".join(
    f" --set {shlex.quote(f'{key}={value}')}" for key, value in settings.overrides.items()
)
# A rule runs again when the profile or the code behind it changed.
TEXT = ["corpus", "data", "profiles", "sources", "templates", "toybert", "wikipedia", "winobias"]
TRAIN = [*TEXT, "components", "kernels", "models", "subnetworks", "training"]
MEASURE = [*TRAIN, "editing", "experiments", "grid", "localization", "measures", "patch", "stages", "strategies"]
SHOW = ["claims", "checks", "figures", "gaps", "kernels", "ledger", "localization", "pretrained", "pretrained_tables", "statistics"]


def because(*modules):
    return f"{settings!r} {code(*modules)}"


ROUNDS = range(len(settings.sparsities) + 1)
FIRST_SEED = settings.seeds[0]

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(settings.threads)
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "LC_ALL": "C.UTF-8"}
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
GLUE = [run_.glue] if settings.glue else []
PUBLISH = [run_.folder / "published"] if run_.folder.name in ("toy", "smollm2") else []


rule all:
    input:
        run_.claims,
        run_.figures / "manifest.json",
        [run_.notebook(n, FIRST_SEED) for n in notebooks(settings)],
        PUBLISH,


rule corpus:
    output: run_.corpus
    params: because(*TEXT)
    shell: "{LCE} corpus {ARGS}"


rule probes:
    output: run_.probes
    params: because(*TEXT)
    shell: "{LCE} probes {ARGS}"


for condition in settings.conditions:
    rule:
        name: f"subnetworks_{condition}"
        input: run_.corpus
        output: [run_.folder / "subnetworks" / "seed{seed}" / f"{condition}-{i}.safetensors" for i in ROUNDS]
        params: because(*TRAIN), condition=condition
        benchmark: run_.folder / "times" / f"subnetworks-seed{{seed}}-{condition}.tsv"
        priority: 2
        threads: settings.threads
        shell: "{LCE} subnetworks {ARGS} --seed {wildcards.seed} --of {params.condition}"


def needed(wildcards):
    seed = int(wildcards.seed)
    files = [p for c in settings.conditions for p in run_.subnetworks(seed, c)]
    at = 1 + settings.sparsities.index(settings.measured_sparsity)
    return files + [run_.subnetwork(settings.other_seed(seed), c, at) for c in settings.conditions]


rule measure:
    input: run_.corpus, rules.probes.output, needed
    output: run_.folder / "measured" / "seed{seed}-{target}.csv"
    params: because(*MEASURE)
    benchmark: run_.folder / "times" / "measure-seed{seed}-{target}.tsv"
    priority: 1
    threads: settings.threads
    shell: "{LCE} measure {ARGS} --seed {wildcards.seed} --of {wildcards.target}"


rule results:
    input: [run_.measured(s, t) for s in settings.seeds for t in settings.targets]
    output: run_.results
    shell: "{LCE} results {ARGS}"


rule glue:
    input: [p for c in settings.conditions for p in run_.subnetworks(FIRST_SEED, c)]
    output: run_.glue
    params: because(*MEASURE, "glue", "understanding")
    threads: settings.threads
    shell: "{LCE} glue {ARGS}"


rule claims:
    input: run_.results, [p for s in settings.seeds for c in settings.conditions for p in run_.subnetworks(s, c)]
    output: run_.claims, run_.folder / "checks.json", run_.folder / "located.csv"
    params: because(*SHOW)
    shell: "{LCE} claims {ARGS}"


rule figures:
    input: run_.results, run_.folder / "located.csv", run_.claims, GLUE
    output: run_.figures / "manifest.json"
    params: because(*SHOW)
    benchmark: run_.folder / "times" / "figures.tsv"
    shell: "{LCE} figures {ARGS}"


rule notebook:
    input:
        "notebooks/{notebook}.ipynb",
        results=run_.results,
        claims=run_.claims,
    output: run_.folder / "notebooks" / "seed{seed}" / "{notebook}.ipynb"
    params: because(*MEASURE, *SHOW, "notebook", "report", "widgets")
    benchmark: run_.folder / "times" / "notebook-seed{seed}-{notebook}.tsv"
    shell: "{LCE} notebook {ARGS} --seed {wildcards.seed} --of {wildcards.notebook}"


rule publish:
    input: run_.results, run_.claims, run_.figures / "manifest.json"
    output: run_.folder / "published"
    shell: "{LCE} publish {ARGS}"


rule first_seed:
    input: rules.probes.output, [p for c in settings.conditions for p in run_.subnetworks(FIRST_SEED, c)]
