"""Stage text_encoder: train the model's text encoder, as a Ray Train job.

Everything else is frozen.

    python -m pipeline.stages.text_encoder --data data/train --encoders artifacts/encoders
        --start artifacts/px64 --out artifacts/aligned
"""

import sys

from pipeline.stages.train import run_training_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_training_stage("text_encoder", argv)


if __name__ == "__main__":
    sys.exit(main())
