"""The ground floor: everything Numba compiles.

Each file mirrors the Linux source file whose name it bears. Kernels import numpy, numba and each other, nothing else.
"""
