"""Entry of ``python -m benchmarks``."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scipy reads it once; tensors of --profile accelerator need it
    try:  # loading torch and scikit-learn takes seconds in which a user may change their mind
        from benchmarks.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
