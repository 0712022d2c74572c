"""What kernels have printed about their memory: lines in, values out. Nothing is simulated here."""
