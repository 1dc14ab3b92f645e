"""SCST, the target side: what it exports, who is logged in, and how it fares."""
