"""The vision tower in int8 on the CPU, run by ONNX Runtime: prepared once for a checkpoint and kept.

In the order of the data: `calibration` looks at what flows into each linear layer while known images pass the float32
tower; `graph` writes the tower with int8 weights and those ranges as an ONNX model; `prepared` keeps it in a file;
`tower` runs it.
"""

from siglip_ingest.siglip.inference.int8.calibration import Calibration
from siglip_ingest.siglip.inference.int8.tower import (
    Int8Options,
    Int8Tower,
    NotPreparedError,
    describe_runtime,
    find_missing_packages,
)

__all__ = ["Calibration", "Int8Options", "Int8Tower", "NotPreparedError", "describe_runtime", "find_missing_packages"]
