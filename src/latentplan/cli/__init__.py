"""The command line: train, evaluate, report, results, doctor."""
