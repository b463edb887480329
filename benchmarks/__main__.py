"""Entry of ``python -m benchmarks``."""

import sys

if __name__ == "__main__":
    try:  # loading torch and scikit-learn takes seconds in which a user may change their mind
        from benchmarks.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
