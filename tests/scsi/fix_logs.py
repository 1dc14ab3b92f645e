"""Log pages made by hand, parameter by parameter, after SPC-4 7.3.2."""

Value = bytes | tuple[int, int]  # bytes, or a number and its width


def parameter(code: int, value: Value, control: int = 0x03) -> bytes:
    raw = value if isinstance(value, bytes) else value[0].to_bytes(value[1], "big")
    return code.to_bytes(2, "big") + bytes([control, len(raw)]) + raw


def log_page(page: int, *parameters: bytes, subpage: int = 0) -> bytes:
    body = b"".join(parameters)
    first = page | 0x40 if subpage else page
    return bytes([first, subpage]) + len(body).to_bytes(2, "big") + body
