"""How kernels are compiled and kept, and their random numbers."""
