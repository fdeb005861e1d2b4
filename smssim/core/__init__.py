"""Everything that decides, as plain classes: no I/O, no clock, no gRPC."""
