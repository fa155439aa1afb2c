"""Golden values of DDPM, computed in float64 apart from this library
(golden_ddpm.json).
"""

import json
from pathlib import Path

GOLDEN = json.loads((Path(__file__).parent / "golden_ddpm.json").read_text())
RTOL = 1e-9  # float64 against float64
