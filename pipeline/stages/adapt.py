"""Stage adapt: change a finished generator by words or a few pictures, as a Ray Train job.

Example:

    python -m pipeline.stages.adapt sketch --encoders artifacts/encoders --start artifacts/px64
        --out artifacts/adapted/sketch
"""

import sys

from pipeline.stages.train import run_training_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_training_stage("adapt", argv)


if __name__ == "__main__":
    sys.exit(main())
