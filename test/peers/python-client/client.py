"""client.py URL: an MCP client on the official Python SDK, driven by lines of JSON.

The bearer token is in MCP_TOKEN, if any; MCP_HEADERS may hold further headers as a JSON object. With MCP_OAUTH the SDK logs in by itself: a JSON
object with "redirectUri", "name", and "documentUrl" for a client ID metadata document in place of a registration. Each line on stdin is an
action, each line on stdout what came of it, in the same order:

    {"do": "initialize"}                                   opens a session; with "mode": "auto" as the SDK does by default
    {"do": "tools"}                                        names of the tools
    {"do": "call", "name": "echo", "arguments": {...}}     one call; "progress": true collects its progress, "timeoutMs" bounds it,
                                                           "cancel": true gives it up, as the SDK does that, at its first progress
    {"do": "level", "level": "info"}                       asks for log messages from that level on
    {"do": "ping"}
    {"do": "close"}                                        ends the session (DELETE) and the program; so does the end of stdin

While it logs in it says {"did": "authorize", "url"}, where a person's browser would open, and waits for {"url"}, where that browser came back.
An answer is {"did", "ok": true, "result", "ms"}, or {"did", "ok": false, "error": {"type", "message", "code"?, "status"?}, "ms"}.
What the server asks the client is answered as the table `answers` says, and counted in the result of the call.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


def say(message: dict) -> None:
    print(json.dumps(message), flush=True)


class Login:
    """What the SDK asks an application for in a login: a place to keep things, and a person with a browser."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info

    async def redirect(self, url: str) -> None:
        say({"did": "authorize", "url": url})

    async def callback(self) -> AuthorizationCodeResult:
        answer = dict(parse_qsl(urlsplit(json.loads(await self.reader.readline())["url"]).query))
        if "code" not in answer:
            raise RuntimeError(f"the login was refused: {answer.get('error')}")
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    def provider(self, url: str, settings: dict) -> OAuthClientProvider:
        return OAuthClientProvider(
            url,
            OAuthClientMetadata(
                client_name=settings["name"],
                redirect_uris=[settings["redirectUri"]],
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
            ),
            self,
            self.redirect,
            self.callback,
            client_metadata_url=settings.get("documentUrl"),
        )


class Conversation:
    """One connection and what the server said in it unasked."""

    def __init__(self, url: str, login: Login) -> None:
        self.url = url
        self.login = login
        self.stack = contextlib.AsyncExitStack()
        self.client: Client | None = None
        self.session_id: str | None = None
        self.status: int | None = None
        self.asked: list[str] = []
        self.logged: list = []

    async def open(self, mode: str) -> dict:
        headers = json.loads(os.environ.get("MCP_HEADERS", "{}"))
        if token := os.environ.get("MCP_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        oauth = os.environ.get("MCP_OAUTH")
        http = await self.stack.enter_async_context(
            httpx2.AsyncClient(
                headers=headers,
                auth=self.login.provider(self.url, json.loads(oauth)) if oauth else None,
                timeout=httpx2.Timeout(30, read=300),
                event_hooks={"response": [self.seen]},
                trust_env=False,
            )
        )
        # The SDK's own limit of 1 MiB for an event is about memory; here messages of any size must pass.
        transport = streamable_http_client(self.url, http_client=http, max_sse_event_size=None)
        client = Client(
            transport,
            mode=mode,
            cache=None,
            client_info=types.Implementation(name="python-client", version="1.0.0"),
            sampling_callback=self.sample,
            elicitation_callback=self.elicit,
            list_roots_callback=self.roots,
            logging_callback=self.log,
        )
        self.client = await self.stack.enter_async_context(client)
        return {
            "protocolVersion": client.protocol_version,
            "serverInfo": client.server_info.model_dump(by_alias=True, exclude_none=True, mode="json"),
            "sessionId": self.session_id,
        }

    async def seen(self, response) -> None:
        """Notes the session id, and the status of the last refusal, which the SDK's errors do not carry."""
        self.session_id = response.headers.get("mcp-session-id", self.session_id)
        if response.status_code >= 400 and response.request.method == "POST":
            self.status = response.status_code

    async def sample(self, context, params):
        self.asked.append("sampling/createMessage")
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="sampled by python-client"), model="none", stop_reason="endTurn"
        )

    async def elicit(self, context, params):
        self.asked.append("elicitation/create")
        return types.ElicitResult(action="accept", content={})

    async def roots(self, context):
        self.asked.append("roots/list")
        return types.ListRootsResult(roots=[types.Root(uri="file:///python-client", name="python-client")])

    async def log(self, params) -> None:
        self.logged.append(params.data)

    async def perform(self, action: dict):
        if action["do"] == "initialize":
            return await self.open(action.get("mode", "legacy"))
        if self.client is None:
            raise RuntimeError("initialize first")
        if action["do"] == "tools":
            return [tool.name for tool in (await self.client.list_tools()).tools]
        if action["do"] == "ping":
            await self.client.send_ping()
            return {}
        if action["do"] == "level":
            await self.client.set_logging_level(action["level"])
            return {}
        if action["do"] == "call":
            return await self.call(action)
        raise RuntimeError(f"no such action: {action['do']}")

    async def call(self, action: dict) -> dict:
        steps: list[float] = []
        cancel = action.get("cancel", False)
        result = None
        asked, logged = len(self.asked), len(self.logged)
        # The SDK gives a call up when the scope that it runs in is cancelled.
        with anyio.CancelScope() as scope:

            async def progress(done: float, total: float | None, message: str | None) -> None:
                steps.append(done)
                if cancel:
                    scope.cancel()

            result = await self.client.call_tool(
                action["name"],
                action.get("arguments", {}),
                read_timeout_seconds=action["timeoutMs"] / 1000 if "timeoutMs" in action else None,
                progress_callback=progress if cancel or action.get("progress") else None,
            )
        if result is None:
            raise RuntimeError("cancelled")
        answer = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        return answer | {"progress": steps, "asked": self.asked[asked:], "logged": len(self.logged) - logged}


def failure(error: BaseException, status: int | None) -> dict:
    """The innermost error of a group, in words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    told = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, MCPError):
        told["code"] = error.error.code
    if status is not None:
        told["status"] = status
    return told


async def main(url: str) -> int:
    logging.disable(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    conversation = Conversation(url, Login(reader))
    closing = {"do": "close"}
    while True:
        line = await reader.readline()
        action = json.loads(line) if line.strip() else closing
        began = time.perf_counter()
        conversation.status = None
        said = {"did": action["do"], "ok": True}
        try:
            if action["do"] == "close":
                await conversation.stack.aclose()
                said["result"] = {}
            else:
                said["result"] = await conversation.perform(action)
        except Exception as error:
            said |= {"ok": False, "error": failure(error, conversation.status)}
        said["ms"] = round((time.perf_counter() - began) * 1000, 2)
        say(said)
        if action["do"] == "close":
            return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
