"""SteinDiff inside other libraries, each imported only with its own adapter."""
