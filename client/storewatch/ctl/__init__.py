"""storewatchctl, the command line: it asks the daemon and shows what it says."""
