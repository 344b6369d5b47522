"""Compares the numbers of two files: compiled code may sum in another order, so up to 1e-5 of the largest.

python compare.py python.txt cpp.txt
"""

import sys
from pathlib import Path

right, got = ([float(line) for line in Path(name).read_text().split()] for name in sys.argv[1:3])
if len(right) != len(got) or not right:
    sys.exit(f"{len(got)} numbers in C++ and {len(right)} in Python")
off, largest = max(abs(a - b) for a, b in zip(right, got, strict=True)), max(map(abs, right))
print(f"{len(got)} numbers, largest {largest:.4g}, off by at most {off:.2g}")
if not off <= 1e-5 * largest:
    sys.exit("C++ and Python differ")
