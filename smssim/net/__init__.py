"""How nodes reach each other: the wire format and gRPC's servers and channels."""
