"""`python -m pipeline.params`: check a params file, or print the configuration reference.

Examples:

    python -m pipeline.params              # check params.yaml
    python -m pipeline.params --markdown   # docs/configuration.md
"""

import sys
from pathlib import Path

from pipeline.exit_codes import Parser, guarded
from pipeline.params.docs import markdown
from pipeline.params.sections import load_params


def main(argv: list[str] | None = None) -> int:
    """Check a params file, or print the configuration reference."""
    parser = Parser(prog="python -m pipeline.params", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="print the reference of all keys")
    arguments = parser.parse_args(argv)
    if arguments.markdown:
        sys.stdout.write(markdown())
        return 0
    return guarded(lambda: _check(arguments.params))


def _check(path: Path) -> None:
    """Say that a params file is valid, with its family; ParamsError lists what is wrong."""
    params = load_params(path)
    print(f"{path}: ok, a {params.train_base.recipe['name']}")


if __name__ == "__main__":
    sys.exit(main())
