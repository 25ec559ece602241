"""More requests than a server can answer: sent at a fixed rate, whatever becomes of those before."""

import asyncio
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.reliability.continuous_load import AnswerRecord
from serving.server.client import Client

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Flood:
    """What was sent and answered."""

    answers: tuple[AnswerRecord, ...]

    def times_ms(self, status: int) -> list[float]:
        """Sorted times to an answer of this status."""
        return sorted(1000 * a.took_s for a in self.answers if a.status == status)


def flood(client: Client, photo: bytes, rate: float, seconds: float) -> Flood:
    """Send `rate` requests a second for so many seconds and wait for all answers."""
    return asyncio.run(_flood(client, photo, rate, seconds))


async def _flood(client: Client, photo: bytes, rate: float, seconds: float) -> Flood:
    key = client.headers()["Authorization"]
    head = (
        f"POST {client.path()} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {key}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(photo)}\r\n\r\n"
    )
    started = time.monotonic()
    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(_ask(client.server.inference, head.encode() + photo)))
    return Flood(tuple(await asyncio.gather(*tasks)))


async def _ask(address: str, request: bytes) -> AnswerRecord:
    sent = time.monotonic()
    status = 0
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            place = urlsplit(address)
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.I)
                await reader.readexactly(int(length[1]) if length else 0)
                status = int(head.split(b" ", 2)[1])
            finally:
                writer.close()
    except TimeoutError:
        status = -1
    except (OSError, EOFError, ValueError):
        status = 0
    return AnswerRecord(sent, time.monotonic(), status, None, False)
