"""Stage train_base: train the low-resolution GAN, as a Ray Train job.

Example:

    python -m pipeline.stages.train_base --data data/train --encoders artifacts/encoders
        --guidance artifacts/tune/guidance.json --out artifacts/base
"""

import sys

from pipeline.stages.train import run_training_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_training_stage("train_base", argv)


if __name__ == "__main__":
    sys.exit(main())
