"""One boot and many: programs, the order of their requests, their pages, who owns them, what must hold."""
