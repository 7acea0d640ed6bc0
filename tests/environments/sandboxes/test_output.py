from hypothesis import given
from hypothesis import strategies as st

from agentevo_environments.sandboxes.embedded.output import Output


@given(st.lists(st.binary(max_size=20)), st.integers(1, 60))
def test_text_in_pieces_is_the_text_of_the_first_bytes(pieces: list[bytes], limit: int) -> None:
    output, read = Output(limit), b""
    for piece in pieces:
        data = piece[: output.room_bytes]
        if data:
            output.add(data)
            read += data
    assert output.over == (len(b"".join(pieces)) > limit)
    assert output.text() == read[:limit].decode(errors="replace")
    assert output.text() == read[:limit].decode(errors="replace")
