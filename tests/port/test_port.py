"""The real port: what blocks goes to the reader, what does not is taken at once."""

from typing import Any

from storewatchd.port import HostAndReader, Reading


async def test_each_question_goes_to_its_own_door() -> None:
    asked: list[tuple[str, str]] = []

    async def read(row: str, object_id: str) -> Reading:
        asked.append((row, object_id))
        return Reading("value", 1.0, 0.0)

    def fact(name: str) -> Any:
        return f"fact {name}"

    port = HostAndReader(read, fact)
    answers = [await port.read("mounts"), await port.read("statvfs.path", "/"), port.host("load")]
    assert answers == [Reading("value", 1.0, 0.0), Reading("value", 1.0, 0.0), "fact load"]
    assert asked == [("mounts", ""), ("statvfs.path", "/")]
