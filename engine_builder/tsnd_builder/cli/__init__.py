"""The command line of `tsn-build`: one file for each group of commands."""
