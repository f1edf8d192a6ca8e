"""What TensorFlow.js' converter imports and does not need here, as empty packages; and how TensorFlow is to behave.

To be imported before TensorFlow.
"""

from __future__ import annotations

import os
import sys
from unittest.mock import MagicMock

__all__: list[str] = []

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
for _name in ("tensorflow_decision_forests", "jax", "jax.experimental", "jax.experimental.jax2tf"):
    sys.modules[_name] = MagicMock()
