"""The performance table says what the CSV says."""

import pandas as pd

from benchmarks import report


def test_the_page_has_the_table_of_the_csv():
    results = pd.read_csv(report.CSV)
    text = report.PAGE.read_text(encoding="utf-8")
    block = text.split(report.MARK)[1].split(report.END)[0]
    wanted = ["| " + " | ".join(row) + " |" for row in report.table(results)]
    assert block.strip().splitlines()[4:] == wanted


def test_verdicts_follow_the_figures():
    results = pd.read_csv(report.CSV)
    for limit in report.LIMITS:
        figure = limit.measured(results)
        if figure is None:
            assert limit.device == "cuda"  # nobody has measured there
            continue
        worse = results.copy()
        worse[limit.column] = 0.0 if limit.at_least else 1e9
        assert not limit.met(limit.measured(worse))
        assert limit.met(limit.value)
    empty = report.table(results[:0])
    assert {row[2:] for row in empty} == {("not measured", "–")}
