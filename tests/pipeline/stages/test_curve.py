import csv

from pipeline.progress import OF_THE_MACHINE
from pipeline.stages.curve import write_curve
from tests.pipeline.cluster.test_launch import tick


def test_the_curve_has_a_row_per_metric_and_tick(tmp_path):
    write_curve(tmp_path / "c.csv", [tick(100, extra=1), tick(200)])
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert list(rows[0]) == ["kimg", "series", "value"]
    assert [row["kimg"] for row in rows if "real_sign" in row["series"]] == ["0.1", "0.2"]
    assert [row["value"] for row in rows if row["series"] == "extra"] == ["1.0"]
    assert not {"kimg", "eta_s", *OF_THE_MACHINE} & {row["series"] for row in rows}
