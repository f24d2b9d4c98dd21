"""Stage superres: grow the generator to a higher resolution, as a Ray Train job.

Example:

    python -m pipeline.stages.superres 64 --data data/train --encoders artifacts/encoders
        --start artifacts/base --out artifacts/px64
"""

import sys

from pipeline.stages.train import run_training_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_training_stage("superres", argv)


if __name__ == "__main__":
    sys.exit(main())
