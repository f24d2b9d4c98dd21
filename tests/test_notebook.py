"""notebooks/quickstart.ipynb runs from top to bottom, with a shorter training."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"


def shortened(minutes: float):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert "minutes = 2.0" in cell.source
    cell.source = cell.source.replace("minutes = 2.0", f"minutes = {minutes}")
    return notebook


def test_it_is_kept_without_outputs():
    """So that a run changes nothing in git but what was written by hand."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = shortened(0.1)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 3  # generated, mixed, trained
    assert not [output for output in outputs if output.output_type == "error"]
    background = re.search(r"'background': ([0-9.]+)", said)
    assert background and float(background[1]) > 0.9
    assert "stopped by another worker" in said or "stopped" in said
    assert re.search(r"images seen at each sheet: \[0", said)
