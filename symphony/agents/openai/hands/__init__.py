"""What works on a workspace's files, inside the run's tree: standard library only, started by `tools.hand`."""
