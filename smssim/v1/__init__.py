"""The wire: made from protos/ by scripts/gen_protos.sh, never edited."""
