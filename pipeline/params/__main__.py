"""`python -m pipeline.params`: check a params file, or print the configuration reference.

python -m pipeline.params              # check params.yaml
python -m pipeline.params --markdown   # docs/configuration.md
"""

import argparse
import sys
from pathlib import Path

from pipeline.exit_codes import guarded
from pipeline.params.docs import markdown
from pipeline.params.sections import load_params


def main(argv: list[str] | None = None) -> int:
    """Check a params file, or print the configuration reference."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.params", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="print the reference of all keys")
    arguments = parser.parse_args(argv)
    if arguments.markdown:
        sys.stdout.write(markdown())
        return 0
    return guarded(lambda: print(f"{arguments.params}: ok, {load_params(arguments.params).seed=}"))


if __name__ == "__main__":
    sys.exit(main())
