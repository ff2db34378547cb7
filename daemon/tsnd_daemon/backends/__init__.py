"""What runs a package on this machine, and how its executors are made."""
