"""The decisions of all nodes, as plain classes: no I/O, no clock, no gRPC."""
