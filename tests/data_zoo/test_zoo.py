"""Rows B1 to B24 led through score and filter: each sample counts once, for the right reason."""

import time

import pytest

from components.data.filtering import check_enough
from components.errors import DataError
from tests.data_zoo import pictures, samples
from tests.data_zoo.animals import FILTER, Animal, images, lead_through
from tests.fuzz.mutations import count

ANIMALS = [*samples.ANIMALS, *pictures.ANIMALS]
ELSEWHERE = {
    "B16": "tests/components/data/test_far_files.py",
    "B17": "tests/pipeline/stages/test_own_data.py: kill -9, the same bytes",
    "B18": "tests/components/data/test_decisions.py, tests/pipeline/stages/test_filter.py",
    "B21": "test_nothing_left_is_refused, below",
    "B22": "tests/pipeline/test_ten_times_the_data.py; benchmarks/filtering.py for decisions",
    "B23": "tests/components/data/test_batches.py",
    "B24": "test_mutated_files_are_all_accounted_for, below",
}


def test_every_animal_meets_its_criterion(tmp_path, capsys):
    """Prints the table of all rows; nothing is written beside the folders of the animals."""
    lines, wrong = [], []
    for number, animal in enumerate(ANIMALS):
        seen = lead_through(animal, tmp_path / str(number))
        report = seen.report
        total = report["kept"] + report["heldout"] + sum(report["rejected"].values())
        held = dict(seen.reasons) == animal.want and report["in"] == total == len(seen.rows)
        counts = ", ".join(f"{reason or 'good'} {n}" for reason, n in sorted(seen.reasons.items()))
        lines.append(
            f"| {animal.row} | {animal.what} | {counts} | {'held' if held else 'MISSED'} |"
        )
        if not held:
            wrong.append((animal.row, animal.what, dict(seen.reasons), animal.want))
    lines += [f"| {row} | {where} | | |" for row, where in ELSEWHERE.items()]
    with capsys.disabled():
        print("\n| row | what | rows by reason | criterion |\n|---|---|---|---|")
        print("\n".join(sorted(lines, key=lambda line: int(line.split("|")[1].strip()[1:]))))
    assert wrong == []
    assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in range(len(ANIMALS))}
    assert {f"B{n}" for n in range(1, 25)} == {a.row for a in ANIMALS} | set(ELSEWHERE)


@pytest.mark.row("B21")
def test_nothing_left_is_refused(tmp_path):
    seen = lead_through(samples.mixed(100), tmp_path)
    with pytest.raises(DataError, match=r"nothing is left of 100 samples: image\.truncated 100"):
        check_enough(seen.report, FILTER, "here")


@pytest.mark.row("B24")
@pytest.mark.parametrize(
    "wanted", [200, pytest.param(10_000, marks=[pytest.mark.fuzz, pytest.mark.timeout(3_600)])]
)
def test_mutated_files_are_all_accounted_for(tmp_path, wanted):
    number = wanted if wanted == 200 else count(wanted)
    start = time.process_time()
    animal = Animal("B24", "bytes flipped", images(pictures.mutants(number)), {})
    seen = lead_through(animal, tmp_path)
    assert seen.report["in"] == number == sum(seen.reasons.values())
    assert {r for r in seen.reasons if r.startswith("image.")} and seen.reasons[""] > 0
    assert (time.process_time() - start) / number < 0.1  # far from the 2 s that one may take
