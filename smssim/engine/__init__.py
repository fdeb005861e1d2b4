"""The engine: replicated logs on a cluster of NATS servers with JetStream. Loaded only if --engine is given."""
