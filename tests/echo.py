"""The product's ASGI application with a websocket at every address that says back what it hears: for tests of the server."""

from __future__ import annotations

from typing import Any

from aiops.asgi import application as product


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await product(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
