"""The three nodes and the watch client: asyncio shells around the core. They never import each other."""
