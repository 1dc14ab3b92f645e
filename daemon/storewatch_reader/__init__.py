"""The hands: the one process that may be privileged. It answers a fixed table of reads, each in a
disposable worker, and can do nothing else. Standard library only."""
