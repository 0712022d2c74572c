"""Result folders: what was simulated, in chunks that are written once; several folders as one."""
