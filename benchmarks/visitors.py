"""A visitor of the app without a browser: speaks Streamlit's protocol over a websocket and uploads over HTTP, as a tab does."""

from __future__ import annotations

import asyncio
import http.client
import time
import uuid
from dataclasses import dataclass
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

FINISHED = {ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY}
LARGEST = 256 << 20
"""Bytes of the largest message that is taken in."""


class Failure(Exception):
    """What a visitor would have seen go wrong."""


@dataclass
class Shown:
    """What a page showed when it was finished."""

    seconds: float
    images: int
    texts: list[str]
    widgets: dict[str, str]
    """Ids of file uploaders by their label."""


class Visitor:
    """One tab. Used as ``async with Visitor(host, port) as visitor``."""

    def __init__(self, host: str, port: int, *, patience: float = 120.0) -> None:
        self.host, self.port, self.patience = host, port, patience
        self.pages: dict[str, str] = {}
        """Hashes of the pages by their address."""
        self._page = ""
        self._query = ""
        self._session = ""
        self._files: dict[str, list[UploadedFileInfo]] = {}
        self._socket: ClientConnection

    async def __aenter__(self) -> Visitor:
        self._token = await asyncio.to_thread(self._cookie)
        self._socket = await connect(
            f"ws://{self.host}:{self.port}/_stcore/stream",
            subprotocols=["streamlit", self._token],
            additional_headers={"Cookie": f"_streamlit_xsrf={self._token}"},
            origin=f"http://{self.host}:{self.port}",
            max_size=LARGEST,
            open_timeout=self.patience,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def open(self, address: str = "", query: str = "") -> Shown:
        """Go to a page by its address, as a click in the navigation does; the first call opens the app."""
        if address and not self.pages:
            await self.open()
        self._page, self._query, self._files = self.pages.get(address, ""), query, {}
        return await self._run()

    async def upload(self, label: str, name: str, data: bytes) -> Shown:
        """Give one file to the uploader of a page that was opened, in place of what it held, and wait for the answer."""
        start = time.perf_counter()
        if label not in self._last.widgets:
            raise Failure(f"the page has no uploader “{label}”")
        uploader = self._last.widgets[label]
        message = BackMsg()
        message.file_urls_request.request_id = uuid.uuid4().hex
        message.file_urls_request.session_id = self._session
        message.file_urls_request.file_names.append(name)
        await self._socket.send(message.SerializeToString())
        async for answer in self._heard():
            if answer.WhichOneof("type") == "file_urls_response":
                urls = answer.file_urls_response.file_urls[0]
                break
        await asyncio.to_thread(self._put, urls.upload_url, name, data)
        before = self._files.get(uploader, [])
        info = UploadedFileInfo(name=name, size=len(data), file_id=urls.file_id, file_urls=urls)
        self._files[uploader] = [info]
        shown = await self._run(start)
        for old in before:
            await asyncio.to_thread(self._request, "DELETE", old.file_urls.delete_url)
        return shown

    async def _run(self, start: float | None = None) -> Shown:
        """Ask for a run of the page and wait until it is drawn."""
        start = time.perf_counter() if start is None else start
        message = BackMsg()
        state = message.rerun_script
        state.page_script_hash, state.query_string = self._page, self._query
        for uploader, files in self._files.items():
            widget = state.widget_states.widgets.add(id=uploader)
            widget.file_uploader_state_value.uploaded_file_info.extend(files)
        await self._socket.send(message.SerializeToString())
        shown = Shown(0.0, 0, [], {})
        async for answer in self._heard():
            match answer.WhichOneof("type"):
                case "new_session":
                    self._session = answer.new_session.initialize.session_id or self._session
                case "navigation":
                    self.pages |= {page.url_pathname: page.page_script_hash for page in answer.navigation.app_pages}
                case "page_info_changed":
                    self._query = answer.page_info_changed.query_string
                case "delta":
                    self._see(answer.delta, shown)
                case "page_not_found":
                    raise Failure("page not found")
                case "script_finished" if answer.script_finished in FINISHED:
                    break
                case "script_finished" if answer.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    raise Failure("the page's script cannot be compiled")
        shown.seconds = time.perf_counter() - start
        self._last = shown
        return shown

    def _see(self, delta: Any, shown: Shown) -> None:
        if delta.WhichOneof("type") != "new_element":
            return
        element = delta.new_element
        match element.WhichOneof("type"):
            case "exception":
                raise Failure(f"exception: {element.exception.type}: {element.exception.message}"[:300])
            case "alert" if element.alert.format == element.alert.ERROR:
                raise Failure(f"error on the page: {element.alert.body}"[:300])
            case "imgs":
                shown.images += len(element.imgs.imgs)
            case "markdown":
                shown.texts.append(element.markdown.body)
            case "file_uploader":
                shown.widgets[element.file_uploader.label] = element.file_uploader.id

    async def _heard(self) -> Any:
        """Yield the server's messages; a server that says nothing for too long has failed."""
        while True:
            async with asyncio.timeout(self.patience):
                data = await self._socket.recv()
            message = ForwardMsg()
            message.ParseFromString(data)
            yield message

    def _cookie(self) -> str:
        """Ask the server for the token that uploads need."""
        for name, value in self._request("GET", "/_stcore/health").getheaders():
            if name.lower() == "set-cookie" and value.startswith("_streamlit_xsrf="):
                return value.split("=", 1)[1].split(";")[0].strip('"')
        return "none"

    def _put(self, path: str, name: str, data: bytes) -> None:
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        self._request("PUT", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.patience)
        token = getattr(self, "_token", "")
        own = {"X-Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"} if token else {}
        try:
            connection.request(method, path if path.startswith("/") else f"/{path}", body, {**own, **(headers or {})})
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise Failure(f"{method} {path.split('?')[0]}: {response.status} {response.reason}")
        return response
