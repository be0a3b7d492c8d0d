"""The studies that read files, as `studies` does for bundled data: Fashion-MNIST (10,000 rows) and Camel's defects.

They need KIRIGAMI_DATA, the folder that holds `fashion_mnist` and `promise`.
"""

import os
import sys
from typing import Any

from benchmarks.claims.studies import measure_all


def measure() -> dict[str, Any]:
    """Run the studies."""
    if not os.environ.get("KIRIGAMI_DATA"):
        sys.exit("set KIRIGAMI_DATA to the folder that holds fashion_mnist and promise")
    return measure_all(("fashion", "defects"))
