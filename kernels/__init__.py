"""The ground floor: everything Numba compiles, imported as mcsim.kernels.

Kernels import numpy, numba and each other, nothing else.
"""
