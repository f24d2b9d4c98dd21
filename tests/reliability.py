"""Faults and bad inputs, and the tests that show what happens: markers -> tests/RELIABILITY.md.

    python -m tests.reliability > tests/RELIABILITY.md

A test says which rows it holds: `@pytest.mark.row("A13")`. A row without a test is in `OPEN`, with
the reason. A to F are the rows of a matrix of faults; G1 to G24 are faults that were met.
"""

from __future__ import annotations

import ast
import sys

from tests.house_source import python_files, tree_of

ROWS = {
    "A1": "a training process is killed at any moment: the same weights, bit for bit",
    "A2": "killed between two steps, inside an accumulation, inside the averaging: as A1",
    "A3": "train all equals train in parts, over the end of an epoch; all of the state is saved",
    "A4": "killed at every named point of a save, pruning too: a whole state, old or new",
    "A5": "the disk is full, or too small from the start: exit 6, the last state stays",
    "A6": "a state is damaged: it is noticed, told, and an older one stands in if it may",
    "A7": "a rank dies before a state of several ranks is whole: it is never restored",
    "A8": "another number of ranks: the same atoms, or one clear line",
    "A9": "one thread fetches ahead, and what it has fetched changes nothing after a resume",
    "A10": "a resume with a changed configuration is another run; a foreign state is refused",
    "A11": "NaN or infinity: the step is cancelled, then back to the last state, then exit 4",
    "A12": "collapse is seen at the next look: a warning, a stop with the best weights, or back",
    "A13": "SIGTERM, SIGINT: the state is saved, exit 7, the same command goes on",
    "A14": "a rank that is stopped or hangs is named with its phase and replaced",
    "A15": "two nodes, as driver and as job; one is killed, or all with their head",
    "A16": "a search or a trial is killed: no trial runs twice, the answer is the same",
    "A17": "two commands on one run folder: the second is refused at once",
    "A18": "odd names, links, no permission, places that cannot be used: it works, or one line",
    "A19": "out of memory: half the micro-batch and the same batch, or exit 6 and what to lower",
    "A20": "the averaged model is that of the closed form, after a resume too",
    "A21": "a start of another size, family or text encoder is refused before training",
    "A22": "the same seed twice gives the same weights",
    "A23": "bf16, compile and memory order change speed, not results",
    "B1": "a corpus with every kind of dirt: each sample once, kept or with its reason",
    "B2": "cut images are never filled up",
    "B3": "decompression bombs are refused from the header",
    "B4": "CMYK, 16 bit, palettes, alpha: converted as the formulas say",
    "B5": "EXIF orientation is undone",
    "B6": "colour profiles: converted to sRGB within 2 dE; broken ones change nothing",
    "B7": "moving pictures: GIF is not opened",
    "B8": "pictures too small, too long: rejected at their thresholds",
    "B9": "the bytes decide what a file is, and only three formats are opened",
    "B10": "captions of any kind: a reason, or a text that the tokenizer takes",
    "B11": "keys end at the first dot; what is missing has its reason",
    "B12": "members of one key that lie apart: no half sample",
    "B13": "exact and near copies are found",
    "B14": "broken shards: what lies before the break is kept, the rest has a reason",
    "B15": "unsafe members of a tar write nothing",
    "B16": "a store that is slow, silent, fails, cuts, lies: asked again, then a row with a reason",
    "B17": "score and filter killed again and again: the same bytes, nothing half written",
    "B18": "the same stage twice gives the same bytes",
    "B19": "Parquet of another shape: one line that names file, column, found and wanted",
    "B20": "a similarity that is NaN is never kept",
    "B21": "nothing left, or too much rejected: exit 3 with the reasons",
    "B22": "ten times the data take at most 1.2 times the memory",
    "B23": "every sample of an epoch exactly once, after seeking too",
    "B24": "mutated pictures never raise",
    "C1": "params.yaml: every key wrong in every way is named, without torch, in two seconds",
    "C2": "a template of dvc.yaml that names no parameter is refused first",
    "C3": "a setting of the command line is checked like the file",
    "C4": "--dry-run writes nothing",
    "C5": "an interrupted stage of DVC is not done; a change runs only what it must",
    "C6": "without git all goes on",
    "C7": "no GPU, no network, no compiler: the same, at once",
    "C8": "the names of the commands are a promise; help is quick",
    "D1": "MLflow is down, slow or locked: training loses nothing and waits for nothing",
    "D2": "artifact uploads fail alone: training waits for nothing, all arrive later, once",
    "D3": "hostile checkpoints: refused by name, nothing runs",
    "D4": "safetensors that are none, of NaN, or not the card's: refused",
    "D5": "weights that do not fit are refused whole, with their names",
    "D6": "the registry holds each content once, and only good ones lead",
    "D7": "ONNX and torch.export: the files draw the same to 1e-4, or the family is refused",
    "E1": "the Frechet distance is the closed form, and agrees with independent code",
    "E2": "the distances agree with torch-fidelity",
    "E3": "a measure does not depend on the batch",
    "E4": "changed data under the same path is measured anew",
    "E5": "measuring changes neither weights nor random numbers",
    "E6": "the same artifact scores the same twice",
    "E7": "a measurement that fails is missing, training goes on, NaN is never best",
    "F1": "a thousand random requests are answered or refused by name",
    "F2": "200 requests at once: each is answered or told to come again, memory is bounded",
    "F3": "the same prompt and seed give the same image",
    "F4": "the process that answers is killed: serving goes on; nothing outlives the command",
    "F5": "no request names a file or an address",
    "G1": "pipes, devices, links, headers of absurd size: never opened or believed, a reason each",
    "G2": "tars of nothing, several tars in one file: counted with a reason",
    "G3": "a stop that a hanging rank would never obey ends the command",
    "G4": "SIGTERM to a whole process group, or to every process: state saved, exit 7 in 30 s",
    "G5": "SIGTERM while Ray starts, a node that is late: exit 7, exit 6",
    "G6": "pictures of many megapixels: memory goes with those in flight, not with their number",
    "G7": "a part of a JPEG with an end mark is truncated",
    "G8": "colour profiles of wider spaces, broken ones, ones of 5 MB: as B6",
    "G9": "one caption of 140,000 characters costs its own row alone",
    "G10": "names that are not UTF-8: keys that can be written and found again",
    "G11": "one flipped bit in a training shard or in the scores: exit 3 names the shard",
    "G12": "tables without a column or of other types: one line",
    "G13": "cards of artifacts of wrong types, absurd sizes, or that are a pipe: exit 5 in 2 s",
    "G14": "python -m components.training ends as a stage does",
    "G15": "YAML that would take memory or minutes: exit 2 in 2 s",
    "G16": "pickles whose keys collide, or that copy again and again: bounded work per byte",
    "G17": "a break between two ticks leaves the same log",
    "G18": "text of others never reaches the terminal as a command",
    "G19": "an error while measuring is told, and NaN is never best",
    "G20": "JSON 100,000 deep, numbers of 10,000 digits: 400; a killed process: serving goes on",
    "G21": "the project's folder is moved: MLflow finds old artifacts and takes new ones",
    "G22": "TMPDIR too long, missing, with a space: Ray starts, or exit 2",
    "G23": "experiments of DVC in a copy find data that is tracked, or named by an absolute path",
    "G24": "checkpoints in any wrapper: the averaged one is taken and named, a doubt asked",
}

OPEN: dict[str, str] = {}  # row -> why no test holds it


def marked_rows() -> dict[str, list[str]]:
    """Return row -> the tests that are marked with it, as pytest names them."""
    found: dict[str, list[str]] = {}
    for file in python_files("tests"):
        for node in tree_of(file).body:
            marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
            for mark in marks:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.row":
                    for row in mark.args:
                        found.setdefault(ast.literal_eval(row), []).append(f"{file}::{node.name}")
    return found


def page() -> str:
    """Return tests/RELIABILITY.md."""
    tests = marked_rows()
    lines = [
        "# Reliability",
        "",
        "Generated by `python -m tests.reliability`; a test compares this page with the markers.",
        "",
        "| row | what happens | tests |",
        "|---|---|---|",
    ]
    for row, title in ROWS.items():
        names = [f"`{name.removeprefix('tests/')}`" for name in sorted(tests.get(row, []))]
        lines.append(f"| {row} | {title} | {'<br>'.join(names)} |")
    if OPEN:
        lines += ["", "## Not held by a test", "", "| row | why |", "|---|---|"]
        lines += [f"| {row} | {why} |" for row, why in OPEN.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
