"""What `tsn-build verify` compares: one file for each kind of comparison."""
