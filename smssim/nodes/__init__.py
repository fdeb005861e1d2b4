"""The three nodes: asyncio shells around the core. They never import each other."""
