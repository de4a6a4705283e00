"""The functional core: computes only. No file, socket, process, clock, environment or torch in here."""
