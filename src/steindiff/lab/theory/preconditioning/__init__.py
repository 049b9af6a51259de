"""Pre-conditioning as a Stein ratio: what each c_skip leaves to a network."""
