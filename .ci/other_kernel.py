"""A BLAS kernel other than the one that NumPy picks on this machine, for `OPENBLAS_CORETYPE`.

Kernels sum in different orders and set different floating point flags, so a test can pass under one
and fail under another. Prints nothing where no other kernel is known to run here.
"""

import numpy  # noqa: F401  (loads the BLAS that is asked about)
import threadpoolctl

# What runs wherever the named default runs: each older x86-64 kernel needs fewer instructions.
OLDER = {"SkylakeX": "Haswell", "Cooperlake": "Haswell", "SapphireRapids": "Haswell"}
OLDER |= {"Haswell": "Nehalem", "Zen": "Nehalem"}

used = {
    info.get("architecture")
    for info in threadpoolctl.threadpool_info()
    if info["internal_api"] == "openblas"
}
print(next((OLDER[name] for name in sorted(filter(None, used)) if name in OLDER), ""))
