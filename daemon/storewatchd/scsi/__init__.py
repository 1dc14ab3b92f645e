"""What SCSI devices answer: decoders of the bytes, after T10. Pure: nothing is asked here."""
