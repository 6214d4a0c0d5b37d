"""Writes the table of docs/reliability.md from the outcome of `make faults` (build/faults.json)."""

import json
import sys
from pathlib import Path

from lcelib.paper.ledger import replace_block

ROOT = Path(__file__).resolve().parent.parent
FAULTS = {
    1: ("kernel killed in the middle of a notebook", "said within 5 s; no notebook under its final name"),
    2: ("run killed at a random moment, 20 times", "started again, it ends with the same bytes"),
    3: ("Ctrl-C, SIGTERM", "exit status 130 or 143 within 10 s, nothing left running, lock free"),
    4: ("memory used up", "said with the stage and what to do; exit status 3"),
    5: ("disk full", "said; what was there stays, no half file"),
    6: ("file cut off: along the header, at 100 random places", "refused"),
    7: ("one flipped bit, 200 times", "found before use"),
    8: ("download cut off, damaged, or refused by the server", "tried again, resumed, or refused with both hashes"),
    9: ("two runs at once, 10 times", "one works, the other waits and finds it done"),
    10: ("lock file of a dead process; lock of a living one", "taken at once; waited for"),
    11: ("another tokenizer: other size, other order", "refused"),
    12: ("layer missing or too many, other size, renamed tensor", "refused with the names"),
    13: ("NaN or infinity in a weight or a loss", "refused by name; training stops at that step"),
    14: ("tied embedding and decoder", "edited once, both stay equal"),
    15: ("pickle, code in a model folder, archive with paths outside", "never run, never written"),
    16: ("patch on another model, applied twice, taken back twice", "refused, the model untouched"),
    17: ("nothing located, everything, ties at the threshold", "exact number, first of equals"),
    18: ("misspelt or impossible settings", "refused in three lines before any work"),
    19: ("words the model lacks, empty or repeated word lists", "refused with the words"),
    20: ("no HOME, read-only checkout, spaces and umlauts in paths", "runs"),
    21: ("no network, no GPU, one core, another language", "the whole graph runs at small settings"),
    22: ("one digit of a notebook's output changed", "the tests fail and name the cell"),
    23: ("GPU kernel fails, unsupported dtype", "done on the CPU with one warning; refused by name"),
    24: ("hash seed 0 to 9, time zone, locale", "the same bytes"),
}  # fmt: skip


def table(outcome: dict[int, dict[str, int]]) -> list[str]:
    """A row for every fault with the tests that passed, and what did not run."""
    rows = ["| | fault | what happens | tests passed |", "| --- | --- | --- | --- |"]
    for number, (fault, result) in FAULTS.items():
        found = outcome.get(number, {})
        others = "".join(f", {n} {name}" for name, n in found.items() if name != "passed")
        rows.append(f"| {number} | {fault} | {result} | {found.get('passed', 0)}{others} |")
    return rows


def main() -> int:
    """Write the table; the exit status says whether every fault has tests and all passed."""
    content = json.loads((ROOT / "build" / "faults.json").read_text(encoding="utf-8"))
    outcome = {int(number): counts for number, counts in content.items()}
    replace_block(ROOT / "docs/reliability.md", "reliability", table(outcome), "make faults")
    sound = all(outcome.get(n, {}).get("passed") and "failed" not in outcome[n] for n in FAULTS)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
